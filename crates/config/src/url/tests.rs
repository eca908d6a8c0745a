use super::*;

#[test]
fn accepted_urls_keep_their_text() {
    let cases = [
        ("http://10.0.0.1:2380", "10.0.0.1", 2380, ""),
        (" http://localhost:80 ", "localhost", 80, ""),
        ("HTTP://Host.Example:1", "Host.Example", 1, ""),
        ("http://[::1]:2379", "::1", 2379, ""),
        ("http://:2379", "", 2379, ""),
        ("http://a:", "a", 0, ""),
        ("https://a:1", "a", 1, ""),
        ("unix:///run/etcd.sock", "", 0, "/run/etcd.sock"),
        ("unix:/run/etcd.sock", "", 0, "/run/etcd.sock"),
        ("unix://etcd.sock", "", 0, "etcd.sock"),
        ("unixs://localhost:123", "", 0, "localhost:123"),
    ];
    for (input, host, port, socket) in cases {
        let url = EndpointUrl::parse(input).unwrap();
        assert_eq!((url.host(), url.port(), url.socket_path()), (host, port, socket), "{input}");
        assert_eq!(EndpointUrl::parse(url.as_str()).unwrap(), url, "{input}");
    }
    assert_eq!(EndpointUrl::parse("HTTP://Host:1").unwrap().as_str(), "http://Host:1");
    assert_eq!(EndpointUrl::parse("http://[::1]:1").unwrap().address(), "[::1]:1");
}

#[test]
fn refused_urls_carry_gos_text() {
    let cases = [
        ("", "URL scheme must be http, https, unix, or unixs: "),
        ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
        ("ftp://a:1", "URL scheme must be http, https, unix, or unixs: ftp://a:1"),
        ("localhost:1", "URL scheme must be http, https, unix, or unixs: localhost:1"),
        ("127.0.0.1:1", "parse \"127.0.0.1:1\": first path segment in URL cannot contain colon"),
        (":1", "parse \":1\": missing protocol scheme"),
        ("http://a", "URL address does not have the form \"host:port\": http://a"),
        ("http://::1:80", "URL address does not have the form \"host:port\": http://::1:80"),
        ("http:a", "URL address does not have the form \"host:port\": http:a"),
        ("http://a:b", "parse \"http://a:b\": invalid port \":b\" after host"),
        ("http://a:70000", "parse \"http://a:70000\": invalid port \":70000\" after host"),
        ("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name"),
        ("http://[::1:1", "parse \"http://[::1:1\": missing ']' in host"),
        ("http://a:1/", "URL must not contain a path: http://a:1/"),
        ("http://a:1?x", "URL must not contain user info, a query or a fragment: http://a:1?x"),
        ("http://u@a:1", "URL must not contain user info, a query or a fragment: http://u@a:1"),
        ("unix://", "URL must name a socket path: unix://"),
        ("unix:rel", "URL must name a socket path: unix:rel"),
        (
            "http://a\u{7}:1",
            "parse \"http://a\\u{7}:1\": net/url: invalid control character in URL",
        ),
    ];
    for (input, text) in cases {
        assert_eq!(EndpointUrl::parse(input).unwrap_err().to_string(), text);
    }
}

#[test]
fn lists_are_sorted_and_without_repetitions() {
    let urls = EndpointUrl::parse_list("http://b:2,http://a:10,http://b:2, http://a:1").unwrap();
    assert_eq!(join(&urls), "http://a:1,http://a:10,http://b:2");
    assert!(EndpointUrl::parse_list("http://a:1,").is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(input in ".{0,40}", tail in "[a-z:/\\[\\]@?# 0-9]{0,20}") {
        let _ = EndpointUrl::parse(&input);
        let _ = EndpointUrl::parse(&format!("http://{tail}"));
        let _ = EndpointUrl::parse(&format!("unix:{tail}"));
    }
}
