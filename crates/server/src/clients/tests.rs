use super::*;

#[test]
fn clients_that_vanish_are_noticed() {
    let listener = std::net::TcpListener::bind("127.97.5.1:0").unwrap();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    tune(&accepted).unwrap();
    assert!(socket2::SockRef::from(&accepted).keepalive().unwrap());
}
