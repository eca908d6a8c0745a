//! Results as a run could give them, for tests of what is made of them.

use std::collections::BTreeMap;

use super::figures::Figure;
use super::machine::Machine;
use super::options::{self, Command};
use super::results::{Contender, Results, RowResult, Sample};
use super::rows;

/// Every row, with one baseline.
pub(super) fn results() -> Results {
    let Ok(Command::Run(options)) = options::parse(&[]) else { panic!("no options is fine") };
    let contender = |label: &str| Contender {
        label: label.to_owned(),
        path: label.into(),
        version: "etcd Version: 1".to_owned(),
    };
    let row = |row: &&'static rows::Row| {
        let sample = |value| Sample { figures: BTreeMap::from([(row.measure, value)]), failed: 0 };
        let samples = [vec![sample(3.0), sample(2.0), sample(4.0)], vec![sample(10.0)]];
        RowResult::of(row, row.title(&options.scale), None, &samples)
    };
    Results {
        machine: Machine {
            cpu: "A & B".to_owned(),
            cpus: 2,
            generator_core: 0,
            server_core: 1,
            memory_mib: 1024,
            kernel: "6".to_owned(),
            file_system: "ext4".to_owned(),
            load_average: "0.00".to_owned(),
            began: 0,
        },
        scale: options.scale.clone(),
        contenders: vec![contender("etch"), contender("etcd 3.4.23")],
        rows: rows::all().iter().map(row).collect(),
        errors: Vec::new(),
    }
}

/// Figures that are in the example.
#[test]
fn figures_are_those_of_the_rows() {
    let results = results();
    assert!(results.rows.iter().any(|row| row.measure == Figure::GapMs));
}
