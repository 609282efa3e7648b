//! Tests follow with a kernel to look at.
