"""How sure a number is: metrics, bootstrap over authors, calibration."""
