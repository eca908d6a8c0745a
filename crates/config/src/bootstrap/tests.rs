use super::*;
use crate::load::{Outcome, parse};

fn config(line: &str) -> Config {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    match parse(&arguments, &[], &|| None).unwrap() {
        Outcome::Run { config, .. } => *config,
        other => panic!("not a start: {other:?}"),
    }
}

/// Knows two names of one address, and one name that fails.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let address = match host {
        "one.example" | "uno.example" => "10.0.0.1",
        "lost.example" => return Err(io::Error::other("no such host")),
        literal => literal,
    };
    Ok(vec![SocketAddr::new(address.parse().expect("test address"), port)])
}

#[test]
fn map_syntax_groups_and_sorts() {
    let cluster = parse_initial_cluster("b=http://x:2,,a=http://z:1,b=http://x:1,").unwrap();
    assert_eq!(spell(&cluster), "a=http://z:1,b=http://x:1,b=http://x:2");
    assert_eq!(cluster[1].1.len(), 2);
    assert!(parse_initial_cluster("").unwrap().is_empty());
    assert!(parse_initial_cluster("foo").is_err());
    assert!(parse_initial_cluster("a=http://x").is_err());
}

#[test]
fn new_member_must_be_in_the_map_as_it_advertises_itself() {
    let own = "--name a --initial-advertise-peer-urls";
    let one = "http://10.0.0.1:1";
    let cases = [
        (format!("{own} {one} --initial-cluster a={one}"), None),
        (format!("{own} {one} --initial-cluster a=http://one.example:1"), None),
        (format!("{own} http://uno.example:1 --initial-cluster a=http://one.example:1"), None),
        // Equal texts are not looked up.
        (format!("{own} http://lost.example:1 --initial-cluster a=http://lost.example:1"), None),
        (
            format!("{own} {one} --initial-cluster b={one}"),
            Some("couldn't find local name \"a\" in the initial cluster configuration"),
        ),
        (
            format!("{own} {one} --initial-cluster foo"),
            Some(
                "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: ",
            ),
        ),
        (
            format!("--name a --initial-cluster a={one}"),
            Some(
                "--initial-cluster has a=http://10.0.0.1:1 but missing from \
                 --initial-advertise-peer-urls=http://localhost:2380 \
                 (\"http://localhost:2380\"(resolved from \"http://localhost:2380\") != \
                 \"http://10.0.0.1:1\"(resolved from \"http://10.0.0.1:1\"))",
            ),
        ),
        (
            format!("{own} {one} --initial-cluster a={one},a=http://10.0.0.2:1"),
            Some(
                "--initial-cluster has a=http://10.0.0.2:1 but missing from \
                 --initial-advertise-peer-urls=http://10.0.0.1:1 \
                 (len([\"http://10.0.0.1:1\"]) != len([\"http://10.0.0.1:1\" \
                 \"http://10.0.0.2:1\"]))",
            ),
        ),
        (
            format!("{own} {one},http://10.0.0.2:1 --initial-cluster a={one}"),
            Some(
                "--initial-advertise-peer-urls has http://10.0.0.2:1 but missing from \
                 --initial-cluster=a=http://10.0.0.1:1,a=http://10.0.0.2:1",
            ),
        ),
        (
            format!("{own} {one} --initial-cluster a={one},a={one}"),
            Some(
                "failed to resolve http://10.0.0.1:1 to match --initial-cluster=\
                 a=http://10.0.0.1:1 (len([\"http://10.0.0.1:1\"]) != \
                 len([\"http://10.0.0.1:1\" \"http://10.0.0.1:1\"]))",
            ),
        ),
        (
            format!("{own} {one} --initial-cluster a={one},b={one}"),
            Some("initial cluster a=http://10.0.0.1:1,b=http://10.0.0.1:1 has duplicate url"),
        ),
        (
            format!("{own} {one} --initial-cluster a=http://lost.example:1"),
            Some(
                "--initial-cluster has a=http://lost.example:1 but missing from \
                 --initial-advertise-peer-urls=http://10.0.0.1:1 \
                 (failed to resolve \"http://lost.example:1\" (no such host))",
            ),
        ),
    ];
    for (line, expected) in cases {
        let found = verify(&config(&line), &mut resolve).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected, "{line}");
    }
}

#[test]
fn joining_member_need_not_advertise_what_the_map_says() {
    let line = "--name a --initial-cluster-state existing --initial-cluster \
                a=http://10.0.0.1:1,b=http://10.0.0.2:1";
    assert_eq!(verify(&config(line), &mut resolve).unwrap().len(), 2);
    let line = "--name a --initial-cluster-state existing --initial-cluster \
                a=http://10.0.0.1:1,b=http://10.0.0.1:1";
    assert!(matches!(verify(&config(line), &mut resolve), Err(BootstrapError::Duplicate(_))));
}

#[test]
fn peers_under_tls_are_refused_by_name() {
    let line = "--initial-cluster default=http://localhost:2380,b=https://b.example:1";
    let error = verify(&config(line), &mut resolve).unwrap_err();
    assert!(error.to_string().contains("https://b.example:1"));
}

#[test]
fn system_resolver_knows_literals_and_gives_up_in_time() {
    let mut resolve = system_resolver(Duration::ZERO);
    assert_eq!(resolve("10.0.0.1", 7).unwrap(), ["10.0.0.1:7".parse().unwrap()]);
    assert!(resolve("a b", 7).is_err());
}
