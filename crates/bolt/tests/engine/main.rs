//! The engine at its boundary, over the simulated disk: a model, crashes, views, damage, bulk.

#![cfg(test)]

mod bulk;
mod common;
mod crash;
mod damage;
mod go_files;
mod model;
mod view;
