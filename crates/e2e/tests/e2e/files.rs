//! Data directories in both directions between our server and Go's.
