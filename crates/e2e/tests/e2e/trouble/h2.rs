//! Just enough HTTP/2 and gRPC to talk to a server frame by frame, well or badly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use e2e::http;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Largest payload of one frame without other settings.
const FRAME_MAX_BYTES: usize = 16_384;

/// A frame with its header.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without compression.
pub(super) fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("shorter than 127"));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The headers of a gRPC call.
pub(super) fn call_headers(path: &str) -> Vec<u8> {
    header_block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A gRPC message with its prefix.
pub(super) fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(body.len()).expect("small").to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A connection that has sent preface and settings, with room for large replies.
pub(super) fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = http::connect(server)?;
    stream.write_all(PREFACE)?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0x3f, 0xff, 0xff, 0xff]))?;
    stream.write_all(&frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0xff, 0xff, 0xff]))?;
    Ok(stream)
}

/// Calls a method; the message of the reply, or nothing when the call failed.
pub(super) fn unary(server: SocketAddr, path: &str, body: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut call = Call {
        stream: open(server)?,
        connection_window: INITIAL_WINDOW_BYTES,
        stream_window: INITIAL_WINDOW_BYTES,
        reply: Vec::new(),
        is_over: false,
    };
    call.stream.write_all(&frame(HEADERS, END_HEADERS, 1, &call_headers(path)))?;
    let bytes = message(body);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() && !call.is_over {
        let size = call.room().min(rest.len());
        if size == 0 {
            call.read()?;
            continue;
        }
        let (part, after) = rest.split_at(size);
        call.stream.write_all(&frame(DATA, 0, 1, part))?;
        call.connection_window -= i64::try_from(size).expect("small");
        call.stream_window -= i64::try_from(size).expect("small");
        rest = after;
    }
    if !call.is_over {
        call.stream.write_all(&frame(DATA, END_STREAM, 1, &[]))?;
    }
    while !call.is_over {
        call.read()?;
    }
    Ok((call.reply.len() > 5).then(|| call.reply.split_off(5)))
}

/// What HTTP/2 allows before any window update.
const INITIAL_WINDOW_BYTES: i64 = 65_535;

/// A call under way on stream 1 of a connection of its own.
struct Call {
    stream: TcpStream,
    connection_window: i64,
    stream_window: i64,
    reply: Vec<u8>,
    is_over: bool,
}

impl Call {
    fn room(&self) -> usize {
        let window = self.connection_window.min(self.stream_window).max(0);
        usize::try_from(window).unwrap_or(usize::MAX).min(FRAME_MAX_BYTES)
    }

    fn read(&mut self) -> io::Result<()> {
        let (kind, flags, stream, payload) = read_frame(&mut self.stream)?;
        let number = |at: usize| {
            payload.get(at..at + 4).map_or(0, |four| {
                i64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
            })
        };
        match kind {
            DATA => self.reply.extend(payload),
            HEADERS => self.is_over |= flags & END_STREAM != 0,
            RST_STREAM | GOAWAY => self.is_over = true,
            WINDOW_UPDATE if stream == 0 => self.connection_window += number(0),
            WINDOW_UPDATE => self.stream_window += number(0),
            SETTINGS if flags & ACK == 0 => {
                // Until it is acknowledged, the server holds to its old settings.
                self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
                let mut entries = (0..payload.len()).step_by(6);
                if let Some(at) = entries.find(|at| payload[*at..].starts_with(&[0, 4])) {
                    self.stream_window += number(at + 2) - INITIAL_WINDOW_BYTES;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The next frame: type, flags, stream, payload.
pub(super) fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
    stream.read_exact(&mut payload)?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok((head[3], head[4], number, payload))
}

/// A protobuf field of bytes.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut rest = bytes.len();
    while rest > 127 {
        field.push(u8::try_from(rest & 127).expect("7 bits") | 128);
        rest >>= 7;
    }
    field.push(u8::try_from(rest).expect("7 bits"));
    field.extend(bytes);
    field
}

/// `PutRequest` as bytes.
pub(super) fn put_request(key: &[u8], value: &[u8]) -> Vec<u8> {
    [bytes_field(1, key), bytes_field(2, value)].concat()
}

/// Puts; whether it was acknowledged.
pub(super) fn put(server: SocketAddr, key: &str, value: &[u8]) -> io::Result<bool> {
    let request = put_request(key.as_bytes(), value);
    Ok(unary(server, "/etcdserverpb.KV/Put", &request)?.is_some())
}

/// The reply to a linearizable read of `key`, or nothing when it failed.
pub(super) fn range(server: SocketAddr, key: &str) -> io::Result<Option<Vec<u8>>> {
    unary(server, "/etcdserverpb.KV/Range", &bytes_field(1, key.as_bytes()))
}

/// Whether a linearizable read of `key` gives `value`.
pub(super) fn range_has(server: SocketAddr, key: &str, value: &[u8]) -> io::Result<bool> {
    let wanted = bytes_field(5, value);
    let reply = range(server, key)?;
    Ok(reply.is_some_and(|reply| reply.windows(wanted.len()).any(|part| part == wanted)))
}

/// Puts `count` keys at once on one connection and waits for their ends; how many came within the
/// connection's read time-out.
pub(super) fn flood(server: SocketAddr, label: &str, count: u32) -> io::Result<u32> {
    let mut stream = open(server)?;
    let mut ended = 0;
    let headers = call_headers("/etcdserverpb.KV/Put");
    for number in 0..count {
        let id = number * 2 + 1;
        let request = put_request(format!("{label}-{number}").as_bytes(), b"flood");
        stream.write_all(&frame(HEADERS, END_HEADERS, id, &headers))?;
        stream.write_all(&frame(DATA, END_STREAM, id, &message(&request)))?;
    }
    while ended < count {
        let (kind, flags, _, payload) = read_frame(&mut stream)?;
        match kind {
            HEADERS if flags & END_STREAM != 0 => ended += 1,
            RST_STREAM => ended += 1,
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
            GOAWAY => break,
            _ => {}
        }
    }
    Ok(ended)
}
