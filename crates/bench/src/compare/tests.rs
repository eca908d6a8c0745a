use super::*;

fn options(text: &str) -> Options {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match options::parse(&words).unwrap() {
        Command::Run(options) => options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_on_the_same_servers_are_one_stage() {
    let found = stages(&options("--only put,put-3,put-latency,put-tail,get,start,count"));
    let [Stage::Fresh(put), Stage::Fresh(three), rest @ ..] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((put.members, three.members), (1, 3));
    // put-latency and put-tail are about the same load.
    let [Stage::Stored { works, .. }, Stage::Fresh(slow)] = rest else { panic!("{rest:?}") };
    assert_eq!((works.len(), slow.connections), (3, 1));
}

#[test]
fn members_change_loads_on_fresh_servers_alone() {
    let found = stages(&options("--members 3 --only put,put-3,get"));
    let [Stage::Fresh(put), Stage::Stored { .. }] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(put.members, 3);
}

#[test]
fn samples_go_to_the_rows_of_their_work_alone() {
    let options = options("--only all");
    for row in &options.rows {
        let takers = options.rows.iter().filter(|other| other.work == row.work);
        let takers: Vec<&str> = takers.map(|row| row.name).collect();
        let expected: &[&str] = match row.name {
            "put-latency" | "put-tail" => &["put-latency", "put-tail"],
            name => &[name],
        };
        assert_eq!(takers, expected);
    }
}

#[test]
fn times_of_the_calendar() {
    let cases = [
        (0, "19700101-000000"),
        (951_782_400, "20000229-000000"),
        (1_795_633_730, "20261125-190850"),
        (1_798_761_599, "20261231-235959"),
    ];
    for (seconds, text) in cases {
        assert_eq!(timestamp(seconds), text);
    }
}

#[test]
fn a_program_that_is_no_server_is_refused() {
    assert!(contender(Path::new("/bin/true"), "etcd").is_err());
    assert!(contender(Path::new("/nowhere/etcd"), "etcd").is_err());
    assert_eq!(number("etcd Version: 3.4.23\nGit SHA: x"), "3.4.23");
}

#[test]
fn results_are_written_as_they_grow() {
    let directory = e2e::TempDir::new("bench-results");
    let mut results = example::results();
    results.errors.push("something".to_owned());
    let report =
        Report { results, out: directory.path().to_owned(), rows: rows::all(), members: None };
    assert!(report.finish().is_err(), "an error fails the run");
    let json = std::fs::read_to_string(directory.join("compare.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"][0]["name"], "put");
    assert_eq!(json["rows"][0]["verdict"], "holds");
    assert_eq!(json["rows"][0]["contenders"][0]["server_cpu_us"]["median"], 3.0);
    assert!(directory.join("compare.svg").is_file() && directory.join("compare.txt").is_file());
}
