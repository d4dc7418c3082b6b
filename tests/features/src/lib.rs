//! Turns on the features of shared dependencies that tests need and the program does not.
//!
//! Cargo compiles a dependency once for each set of features that is asked of it. `make demo` builds the program
//! together with this crate, so that what it compiles serves `make test` too. Release builds leave this crate out.
#![allow(unused_crate_dependencies)]
