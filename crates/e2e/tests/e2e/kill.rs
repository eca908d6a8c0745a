//! Kills under load.
