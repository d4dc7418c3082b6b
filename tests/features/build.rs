//! Generates nothing: without a build script, cargo would not read the build dependencies.

fn main() {}
