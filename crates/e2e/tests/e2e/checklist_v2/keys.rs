//! Items 1-17: basic requests, bodies, paths.

use e2e::http;

use super::case::{Case, dir, dir_of, done, file, redone};

super::items! {
    shared: item_001_get_of_a_missing_key_fails_with_its_name_and_the_index,
        item_002_put_of_a_new_key_is_created_at_the_next_index,
        item_003_put_over_a_key_shows_the_former_one,
        item_004_put_without_a_body_stores_an_empty_value,
        item_005_bodies_of_other_types_are_not_read,
        item_006_the_first_value_of_the_body_wins,
        item_007_head_has_the_headers_of_get,
        item_008_other_methods_are_not_allowed,
        item_009_options_is_answered_for_cors,
        item_010_every_answer_has_cors_headers,
        item_012_an_empty_directory_has_no_nodes,
        item_013_paths_that_are_not_clean_are_redirected,
        item_014_a_trailing_slash_names_the_same_node,
        item_015_an_escaped_slash_is_a_level,
        item_016_json_is_escaped_as_go_does,
        item_017_a_form_over_10_mib_is_refused;
    alone: item_011_the_root_of_an_empty_store;
}

const CORS: [(&str, &str); 3] = [
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
];

fn item_001_get_of_a_missing_key_fails_with_its_name_and_the_index(case: &mut Case) {
    case.get("/~").fails(100, "/~", 0);
    case.get("/~/below").fails(100, "/~", 0);
}

fn item_002_put_of_a_new_key_is_created_at_the_next_index(case: &mut Case) {
    let put = case.put("/~", "value=Hello world");
    put.is(201, &done("set", &file("/~", "Hello world", 1, 1)));
    assert_eq!(put.header("X-Etcd-Index"), case.at(1).to_string());
    case.get("/~").is(200, &done("get", &file("/~", "Hello world", 1, 1)));
}

fn item_003_put_over_a_key_shows_the_former_one(case: &mut Case) {
    case.put("/~", "value=a").is(201, &done("set", &file("/~", "a", 1, 1)));
    let former = file("/~", "a", 1, 1);
    case.put("/~", "value=b").is(200, &redone("set", &file("/~", "b", 2, 2), &former));
}

fn item_004_put_without_a_body_stores_an_empty_value(case: &mut Case) {
    case.request("PUT", "/v2/keys/~", &[], "").is(201, &done("set", &file("/~", "", 1, 1)));
    case.get("/~").is(200, &done("get", &file("/~", "", 1, 1)));
}

fn item_005_bodies_of_other_types_are_not_read(case: &mut Case) {
    let key = "/v2/keys/~";
    case.request("PUT", key, &[], "value=x").is(201, &done("set", &file("/~", "", 1, 1)));
    let mut step = 1;
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=b"] {
        let former = file("/~", "", step, step);
        step += 1;
        let put = case.request("PUT", key, &[("Content-Type", kind)], "value=x");
        put.is(200, &redone("set", &file("/~", "", step, step), &former));
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    let former = file("/~", "", step, step);
    let put = case.request("PUT", key, &form, "value=x");
    put.is(200, &redone("set", &file("/~", "x", step + 1, step + 1), &former));
}

fn item_006_the_first_value_of_the_body_wins(case: &mut Case) {
    case.put("/~a?value=query", "value=body").is(201, &done("set", &file("/~a", "body", 1, 1)));
    case.put("/~b", "value=1&value=2").is(201, &done("set", &file("/~b", "1", 2, 2)));
    case.put("/~c?value=query", "").is(201, &done("set", &file("/~c", "query", 3, 3)));
}

fn item_007_head_has_the_headers_of_get(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    for key in ["/~", "/~missing"] {
        let get = case.get(key).response;
        let head = case.request("HEAD", &format!("/v2/keys{key}"), &[], "").response;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{key}");
        let size = get.body.len().to_string();
        assert_eq!(head.header("Content-Length"), Some(size.as_str()), "{key}");
        let all_but_times = |reply: &http::Response| {
            let mut headers = reply.headers.clone();
            headers.retain(|(name, _)| name != "Date" && name != "X-Raft-Index");
            headers.sort();
            headers
        };
        assert_eq!(all_but_times(&head), all_but_times(&get), "{key}");
    }
}

fn item_008_other_methods_are_not_allowed(case: &mut Case) {
    let reply = case.request("PATCH", "/v2/keys/~", &[], "");
    assert_eq!(reply.has_status(405).response.body, "Method Not Allowed\n");
    assert_eq!(reply.header("Allow"), "HEAD,GET,PUT,POST,DELETE");
    assert_eq!(reply.header("Content-Type"), "text/plain; charset=utf-8");
    assert_eq!(reply.header("X-Content-Type-Options"), "nosniff");
    assert_eq!(reply.response.header("X-Etcd-Cluster-Id"), None);
}

fn item_009_options_is_answered_for_cors(case: &mut Case) {
    for path in ["/v2/keys/~", "/v2/keys", "/nowhere"] {
        let reply = case.request("OPTIONS", path, &[], "");
        assert_eq!(reply.has_status(200).response.body, "", "{path}");
        for (name, value) in CORS {
            assert_eq!(reply.header(name), value, "{path}");
        }
    }
}

fn item_010_every_answer_has_cors_headers(case: &mut Case) {
    let _ = case.put("/~", "value=x");
    let requests = [
        (200, "GET", "/v2/keys/~"),
        (404, "GET", "/v2/keys/~missing"),
        (400, "GET", "/v2/keys/~?recursive=maybe"),
        (405, "PATCH", "/v2/keys/~"),
        (301, "GET", "/v2/keys//~"),
        (404, "GET", "/nowhere"),
        (200, "GET", "/version"),
        (200, "DELETE", "/v2/keys/~"),
    ];
    for (status, method, path) in requests {
        let reply = case.request(method, path, &[], "");
        reply.has_status(status);
        for (name, value) in CORS {
            assert_eq!(reply.header(name), value, "{method} {path}");
        }
    }
    let watch = case.watch("/~", "");
    for (name, value) in CORS {
        assert_eq!(watch.head().header(name), Some(value), "watch");
    }
}

fn item_011_the_root_of_an_empty_store(case: &mut Case) {
    for key in ["", "/", "?recursive=true&sorted=true"] {
        case.get(key).is(200, r#"{"action":"get","node":{"dir":true}}"#);
    }
}

fn item_012_an_empty_directory_has_no_nodes(case: &mut Case) {
    case.put("/~", "dir=true").is(201, &done("set", &dir("/~", 1, 1)));
    case.get("/~").is(200, &done("get", &dir("/~", 1, 1)));
    case.get("/~?recursive=true").is(200, &done("get", &dir("/~", 1, 1)));
}

fn item_013_paths_that_are_not_clean_are_redirected(case: &mut Case) {
    let paths = [
        ("//~", "/v2/keys/~"),
        ("/~//q", "/v2/keys/~/q"),
        ("/~/./q", "/v2/keys/~/q"),
        ("/p/../~", "/v2/keys/~"),
        ("/..", "/v2"),
    ];
    for (path, clean) in paths {
        let clean = case.fill(clean);
        let get = case.get(path);
        assert_eq!(get.has_status(301).header("Location"), clean, "{path}");
        let page = format!("<a href=\"{clean}\">Moved Permanently</a>.\n\n");
        assert_eq!(get.response.body, page, "{path}");
        assert_eq!(get.header("Content-Type"), "text/html; charset=utf-8", "{path}");
        let put = case.put(path, "value=x");
        assert_eq!(put.has_status(301).header("Location"), clean, "{path}");
        assert_eq!(put.response.body, "", "{path}");
    }
    case.get("/~").fails(100, "/~", 0);
}

fn item_014_a_trailing_slash_names_the_same_node(case: &mut Case) {
    case.put("/~/", "value=x").is(201, &done("set", &file("/~", "x", 1, 1)));
    case.get("/~/").is(200, &done("get", &file("/~", "x", 1, 1)));
    case.get("/~").is(200, &done("get", &file("/~", "x", 1, 1)));
    let _ = case.delete("/~/").has_status(200);
    case.get("/~/").fails(100, "/~", 2);
}

fn item_015_an_escaped_slash_is_a_level(case: &mut Case) {
    case.put("/~%2Fx", "value=1").is(201, &done("set", &file("/~/x", "1", 1, 1)));
    case.get("/~").is(200, &done("get", &dir_of("/~", &[file("/~/x", "1", 1, 1)], 1, 1)));
}

fn item_016_json_is_escaped_as_go_does(case: &mut Case) {
    let value = r"\u003c\u0026\u003e\ufffd\u0000\t\n\u2028ü";
    let put = case.put("/~", "value=%3C%26%3E%ff%00%09%0a%e2%80%a8%c3%bc");
    put.is(201, &done("set", &file("/~", value, 1, 1)));
    let key = r"/~\u003c;\ufffd é";
    let put = case.put("/~%3C;%FF%20%C3%A9", "value=x");
    put.is(201, &done("set", &file(key, "x", 2, 2)));
}

fn item_017_a_form_over_10_mib_is_refused(case: &mut Case) {
    // One byte too many, and no more: what a server leaves unread resets the connection.
    let body = "value=".to_owned() + &"x".repeat((10 << 20) + 1 - "value=".len());
    case.put("/~", &body).refused(210, "http: POST too large");
    case.get("/~").fails(100, "/~", 0);
    let _ = case.put("/~", &body[..1 << 20]).has_status(201);
}
