//! VYR.
