//! Tests of the demo: whole ones, and the verdict on evidence that was tampered with.
