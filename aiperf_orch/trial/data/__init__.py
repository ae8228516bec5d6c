"""The data sets that trials train and validate on."""
