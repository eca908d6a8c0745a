//! A watch that is read line by line.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use e2e::http;

/// An open watch of which the head has come.
pub(super) struct Poll {
    reader: BufReader<TcpStream>,
    /// First line and headers.
    pub(super) head: String,
}

impl Poll {
    /// Asks and waits for the head.
    pub(super) fn open(server: SocketAddr, target: &str) -> io::Result<Self> {
        let asked = Self::ask(server, target)?;
        Self::read_head(asked)
    }

    /// Asks only, so that many can be on their way.
    pub(super) fn ask(server: SocketAddr, target: &str) -> io::Result<TcpStream> {
        let mut stream = http::connect(server)?;
        let head = format!("GET /v2/keys{target} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    pub(super) fn read_head(stream: TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1024, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { reader, head })
    }

    /// The next event; `None` at the proper end of the body. An error when the body is cut.
    pub(super) fn next(&mut self) -> io::Result<Option<String>> {
        let mut size = String::new();
        if self.reader.read_line(&mut size)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16)
            .map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk)?;
        chunk.truncate(size);
        Ok((size > 0).then(|| String::from_utf8_lossy(&chunk).into_owned()))
    }

    /// Index of the next event.
    #[track_caller]
    pub(super) fn index(&mut self) -> u64 {
        let event = self.next().expect("an event").expect("an event before the end");
        modified_index(&event)
    }
}

/// Index of the change that an event tells.
#[track_caller]
pub(super) fn modified_index(event: &str) -> u64 {
    let (_, rest) = event.split_once("\"modifiedIndex\":").expect("an index");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().expect("digits");
    digits.parse().expect("a number")
}
