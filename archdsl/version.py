"""The version, in the one place that the build and the command line read it from."""

VERSION = "0.1.0"
