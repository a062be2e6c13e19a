//! A custom runtime of Lambda.
