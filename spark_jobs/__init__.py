"""The stages that run on Spark, one file a job."""
