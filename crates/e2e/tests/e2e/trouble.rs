//! Bad input and trouble.
