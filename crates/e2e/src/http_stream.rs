//! A reply of which the body comes in chunks over time: v2 watches.
//!
//! Owns:       one connection.
//! Invariants: `open` returns when the head is here, whether or not a body follows.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http::{self, Response};

/// How long one read may block: the patience of a call is looked at in between.
const READ_STEP: Duration = Duration::from_millis(20);

/// An answer that goes on.
#[derive(Debug)]
pub struct HttpStream {
    head: Response,
    reader: BufReader<TcpStream>,
    body: Body,
    /// Bytes of the body that are no whole line yet.
    pending: Vec<u8>,
    /// Bytes of the chunk that is being read, with its line ends.
    raw: Vec<u8>,
}

/// How the end of the body is known, and whether it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Chunks,
    Sized(usize),
    Complete,
    CutOff,
}

/// What a wait for a line ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line(String),
    /// The body is complete.
    End,
    /// The connection ended in the middle of the body.
    CutOff,
    /// Nothing came in time.
    Silence,
}

impl HttpStream {
    /// Sends `GET path` and waits for the head of the answer.
    ///
    /// # Errors
    /// When the connection fails or no head comes in time.
    pub fn open(server: SocketAddr, path: &str) -> io::Result<Self> {
        let mut stream = http::connect(server)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let head = http::parse_head(&head)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not an HTTP/1.1 head"))?;
        reader.get_ref().set_read_timeout(Some(READ_STEP))?;
        let body = match head.header("Content-Length").map(str::parse) {
            Some(Ok(size)) => Body::Sized(size),
            _ => Body::Chunks,
        };
        Ok(Self { head, reader, body, pending: Vec::new(), raw: Vec::new() })
    }

    /// Status and headers; the body is empty.
    #[must_use]
    pub fn head(&self) -> &Response {
        &self.head
    }

    /// The next line of the body, if it comes within `patience`. With no patience at all only what
    /// has arrived is looked at.
    ///
    /// # Panics
    /// When what comes is no HTTP/1.1.
    #[track_caller]
    pub fn next(&mut self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Next::Line(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            match self.body {
                Body::Complete => return Next::End,
                Body::CutOff => return Next::CutOff,
                Body::Chunks | Body::Sized(_) => {}
            }
            if !self.read_some() && Instant::now() >= deadline {
                return Next::Silence;
            }
        }
    }

    /// Takes what has arrived, waiting a moment; whether there was anything.
    #[track_caller]
    fn read_some(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.reader.read(&mut buffer) {
            Ok(0) => {
                self.body = Body::CutOff;
                true
            }
            Ok(size) => {
                self.raw.extend_from_slice(&buffer[..size]);
                self.take_apart();
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            Err(_) => {
                self.body = Body::CutOff;
                true
            }
        }
    }

    #[track_caller]
    fn take_apart(&mut self) {
        if let Body::Sized(size) = self.body {
            self.pending.append(&mut self.raw);
            if self.pending.len() >= size {
                self.body = Body::Complete;
            }
            return;
        }
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let text = std::str::from_utf8(&self.raw[..line]).expect("size of a chunk");
            let size = usize::from_str_radix(text, 16).expect("size of a chunk");
            let end = line + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            self.pending.extend_from_slice(&self.raw[line + 2..end - 2]);
            self.raw.drain(..end);
            if size == 0 {
                self.body = Body::Complete;
                return;
            }
        }
    }
}
