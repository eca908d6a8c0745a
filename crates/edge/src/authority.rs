//! Makes `:authority` acceptable to h2 where grpc-go clients send a whole URL in it.
//!
//! Owns:       the inbound bytes of one HTTP/2 connection until its first requests are understood.
//! Uses:       `std` only.
//! Never:      HPACK state: nothing changes its length, so the tables of both ends stay equal.
//! Invariants: output has exactly the length of the input; only bytes inside the value of a literal
//!             `:authority` change.
//! Source:     RFC 9113 4 and 6.2, RFC 7541 6; docs/decisions/ on the authority of etcdctl.

/// Length of an HTTP/2 frame header.
const FRAME_HEAD: usize = 9;
const TYPE_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
/// Index of `:authority` in HPACK's static table.
const AUTHORITY: u64 = 1;

/// `http://` and `https://` in HPACK's Huffman code, as bits, and what replaces them: letters whose
/// codes have the same lengths and which may stand in a host name.
const HUFFMAN_FORMS: [(&str, &str); 2] = [
    // h      t     t     p      :       /      /            k       -      -
    ("10011101001010011010111011100011000011000", "10011101001010011010111110101010110010110"),
    // h      t     t     p      s     :       /      /
    (
        "1001110100101001101011010001011100011000011000",
        "1001110100101001101011010001110101010110010110",
    ),
];

/// What the bytes to come are.
#[derive(Debug)]
enum State {
    /// A frame header, of which some bytes may be here.
    Head(Vec<u8>),
    /// Payload of a frame of no interest, with this many bytes left.
    Skip(usize),
    /// Payload of a HEADERS frame: collected whole, `usize` bytes in all.
    Block { head: Vec<u8>, payload: Vec<u8>, length: usize },
}

/// The filter of one connection; give it the bytes behind the preface.
#[derive(Debug)]
pub(crate) struct AuthorityMender {
    state: State,
    done: bool,
}

impl AuthorityMender {
    pub(crate) fn new() -> Self {
        Self { state: State::Head(Vec::with_capacity(FRAME_HEAD)), done: false }
    }

    /// Whether the client has shown that its authorities need no mending: from the next frame on,
    /// the filter can be left out.
    pub(crate) fn is_done(&self) -> bool {
        self.done && matches!(&self.state, State::Head(head) if head.is_empty())
    }

    /// Takes received bytes and appends what may go on to `out`. A HEADERS frame is held back until
    /// it is whole; its length is bounded by HTTP/2's frame size (16 KiB unless negotiated).
    pub(crate) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            match &mut self.state {
                State::Head(head) => {
                    let step = (FRAME_HEAD - head.len()).min(input.len());
                    head.extend_from_slice(&input[..step]);
                    input = &input[step..];
                    if head.len() == FRAME_HEAD {
                        let head = std::mem::take(head);
                        self.state = after_head(head, out);
                    }
                }
                State::Skip(left) => {
                    let step = (*left).min(input.len());
                    out.extend_from_slice(&input[..step]);
                    input = &input[step..];
                    *left -= step;
                }
                State::Block { payload, length, .. } => {
                    let step = (*length - payload.len()).min(input.len());
                    payload.extend_from_slice(&input[..step]);
                    input = &input[step..];
                }
            }
            self.finish_frame(out);
        }
    }

    fn finish_frame(&mut self, out: &mut Vec<u8>) {
        match &mut self.state {
            State::Skip(0) => {}
            State::Block { head, payload, length } if payload.len() == *length => {
                let mended =
                    block_range(head, payload).is_some_and(|range| mend(&mut payload[range]));
                self.done = !mended;
                out.append(head);
                out.append(payload);
            }
            State::Head(_) | State::Skip(_) | State::Block { .. } => return,
        }
        self.state = State::Head(Vec::with_capacity(FRAME_HEAD));
    }
}

fn after_head(head: Vec<u8>, out: &mut Vec<u8>) -> State {
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    if head[3] == TYPE_HEADERS && length > 0 {
        return State::Block { head, payload: Vec::new(), length };
    }
    out.extend_from_slice(&head);
    State::Skip(length)
}

/// Where the header block lies in the payload, without padding and priority.
fn block_range(head: &[u8], payload: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    let mut end = payload.len();
    if head[4] & FLAG_PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        start += 1;
    }
    if head[4] & FLAG_PRIORITY != 0 {
        start += 5;
    }
    (start <= end).then_some(start..end)
}

/// Walks the fields of a header block and mends a literal `:authority`; whether it found one to
/// mend. Anything malformed ends the walk: h2 will judge it.
fn mend(block: &mut [u8]) -> bool {
    walk(block).unwrap_or(false)
}

fn walk(block: &mut [u8]) -> Option<bool> {
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        if first & 0x80 != 0 {
            integer(block, &mut at, 7)?;
            continue;
        }
        if first & 0xe0 == 0x20 {
            integer(block, &mut at, 5)?;
            continue;
        }
        let prefix = if first & 0xc0 == 0x40 { 6 } else { 4 };
        let name = integer(block, &mut at, prefix)?;
        if name == 0 {
            string(block, &mut at)?;
        }
        let (huffman, value) = string(block, &mut at)?;
        if name == AUTHORITY {
            return Some(mend_value(huffman, &mut block[value]));
        }
    }
    Some(false)
}

/// An HPACK integer with a prefix of this many bits.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<u64> {
    let mask = (1_u64 << prefix) - 1;
    let mut value = u64::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = u64::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// An HPACK string: whether it is Huffman coded, and where its bytes are.
fn string(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = usize::try_from(integer(block, at, 7)?).ok()?;
    let end = at.checked_add(length).filter(|end| *end <= block.len())?;
    let range = *at..end;
    *at = end;
    Some((huffman, range))
}

fn mend_value(huffman: bool, value: &mut [u8]) -> bool {
    if huffman {
        return HUFFMAN_FORMS.iter().any(|(from, to)| replace_bits(value, from, to));
    }
    let plain: [(&[u8], &[u8]); 2] = [(b"http://", b"httpk--"), (b"https://", b"httpsk--")];
    for (from, to) in plain {
        if value.starts_with(from) {
            value[..to.len()].copy_from_slice(to);
            return true;
        }
    }
    false
}

fn replace_bits(value: &mut [u8], from: &str, to: &str) -> bool {
    let bit = |value: &[u8], index: usize| value[index / 8] >> (7 - index % 8) & 1;
    let fits = from.len() <= value.len() * 8;
    let wanted = from.bytes().enumerate();
    if !fits || !wanted.clone().all(|(index, digit)| bit(value, index) == digit - b'0') {
        return false;
    }
    for (index, digit) in to.bytes().enumerate() {
        let mask = 1 << (7 - index % 8);
        if digit == b'1' {
            value[index / 8] |= mask;
        } else {
            value[index / 8] &= !mask;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers_frame(block: &[u8]) -> Vec<u8> {
        let length = u8::try_from(block.len()).unwrap();
        let mut frame = vec![0, 0, length, TYPE_HEADERS, 4, 0, 0, 0, 1];
        frame.extend_from_slice(block);
        frame
    }

    /// `:method POST`, then a literal `:authority` with this value.
    fn block(huffman: bool, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        let mut block = vec![0x83, 0x41, length | if huffman { 0x80 } else { 0 }];
        block.extend_from_slice(value);
        block.push(0x86);
        block
    }

    fn pass(input: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let mut mender = AuthorityMender::new();
        let mut out = Vec::new();
        for piece in input.chunks(piece) {
            mender.push(piece, &mut out);
        }
        (out, mender.is_done())
    }

    #[test]
    fn plain_authority_with_a_scheme_is_mended_in_place() {
        let mut input = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        input.extend(headers_frame(&block(false, b"http://127.0.0.1:2379")));
        let mut expected = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        expected.extend(headers_frame(&block(false, b"httpk--127.0.0.1:2379")));
        for piece in [1, 2, 7, 1000] {
            assert_eq!(pass(&input, piece), (expected.clone(), false), "pieces of {piece}");
        }
    }

    #[test]
    fn huffman_forms_keep_their_lengths_and_differ_only_behind_the_scheme() {
        for (from, to) in HUFFMAN_FORMS {
            assert_eq!(from.len(), to.len());
        }
        // `http://` and seven more bits of padding, as an encoder would write it.
        let bits = format!("{}1111111", HUFFMAN_FORMS[0].0);
        let coded: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |value, bit| value << 1 | (bit - b'0')))
            .collect();
        let mut mended = coded.clone();
        assert!(mend_value(true, &mut mended));
        assert_ne!(mended, coded);
        assert!(!mend_value(true, &mut mended), "a mended value needs no mending");
    }

    #[test]
    fn good_authorities_pass_unchanged_and_end_the_filter() {
        let input = headers_frame(&block(false, b"127.0.0.1:2379"));
        assert_eq!(pass(&input, 3), (input.clone(), true));
    }

    #[test]
    fn malformed_blocks_pass_unchanged() {
        for block in [&[0x41, 0x7f][..], &[0x40], &[0xff; 12], &[0x41, 0x20, 1]] {
            let input = headers_frame(block);
            assert_eq!(pass(&input, 4).0, input, "{block:x?}");
        }
    }
}
