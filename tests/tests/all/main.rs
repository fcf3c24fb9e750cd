//! All whole-network tests, in one binary.

mod honest;
