"""Clinical data, installed as the package `cdshooks.mappings`. No code: this file only lets the data be found."""
