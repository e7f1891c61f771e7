//! Tests of what a preview says.
