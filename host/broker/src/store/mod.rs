//! The store (to come in the next commit).
