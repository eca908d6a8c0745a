//! Listeners on `localhost`, `[::1]` and Unix sockets, in a network namespace of their own: nothing
//! in tests may listen on the machine's 127.0.0.1. Needs root.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use e2e::process::Process;
use e2e::{Exit, Program, TempDir, etcdctl, eventually, http};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn localhost_ipv6_and_unix_sockets_serve() {
    let directory = TempDir::new("listeners");
    let socket = directory.join("clients.sock");
    let urls = format!("http://localhost:2379,http://[::1]:12379,unix://{}", socket.display());
    let server = format!(
        "ip link set lo up && exec {} --data-dir={} --listen-client-urls={urls} \
         --advertise-client-urls=http://localhost:2379",
        Program::Ours.path().display(),
        directory.join("l.etcd").display()
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &server]);
    let mut etcd = Process::spawn("listeners", command, &directory.join("l.log"));
    eventually("an answer on the Unix socket", PATIENCE, || {
        let mut stream = UnixStream::connect(&socket).ok()?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        http::read_response(&mut stream).ok().filter(|reply| reply.status == 200)
    });
    let id = etcd.id().to_string();
    for endpoint in ["localhost:2379", "127.0.0.1:2379", "[::1]:12379"] {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &id]).arg(Program::GoEtcdctl34.path());
        command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint, "put", endpoint, "value"]);
        assert_eq!(etcdctl::run(command, "", PATIENCE).success(), "OK\n", "{endpoint}");
    }
    etcd.signal(Signal::SIGTERM);
    assert_eq!(etcd.wait(PATIENCE), Exit::Signal(15));
    assert!(!etcd.log().contains("panicked"));
}
