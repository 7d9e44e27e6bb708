"""What ``score`` needs beside a model: the study's pictures to compare with, and how sure it is."""
