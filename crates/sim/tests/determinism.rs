//! Equal configurations give equal traces.

use sim::{Config, Plant, Shape, run};

#[test]
fn same_seed_same_trace() {
    for seed in 0..8 {
        let config = Config::new(seed, Shape::Any);
        let first = run(&config).unwrap();
        assert_eq!(first, run(&config).unwrap(), "seed {seed}");
        let verbose = run(&Config { verbose: true, ..config }).unwrap();
        assert_eq!(first.trace, verbose.trace, "seed {seed}");
        assert!(!verbose.lines.is_empty());
    }
}

#[test]
fn other_seed_other_trace() {
    let trace = |seed| run(&Config::new(seed, Shape::Three)).unwrap().trace;
    assert_ne!(trace(1), trace(2));
}

#[test]
fn failure_is_found_again_by_its_command() {
    let config = Config::new(0, Shape::Single).with_plant(Plant::EarlyAck);
    let (first, again) = (run(&config).unwrap_err(), run(&config).unwrap_err());
    assert_eq!((first.at_us, &first.violation), (again.at_us, &again.violation));
    let command = "cargo xtask sim --seed 0 --trace --shape single --plant early-ack";
    assert!(first.to_string().ends_with(command), "{first}");
}
