//! The bytes of a stored pair.

use bytes::Bytes;
use mvcc::kv::{KvView, Malformed, key_of};

#[test]
fn encoding_is_that_of_etcd() {
    let put = KvView {
        key: b"q",
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        value: b"r",
        lease: 0,
    };
    let rows: [(KvView<'_>, &[u8]); 5] = [
        (put, b"\x0a\x01q\x10\x02\x18\x02\x20\x01\x2a\x01r"),
        (KvView { value: b"", ..put }, b"\x0a\x01q\x10\x02\x18\x02\x20\x01"),
        (KvView { key: b"a1", ..KvView::default() }, b"\x0a\x02a1"),
        (
            KvView { lease: -1, mod_revision: 300, ..KvView::default() },
            b"\x18\xac\x02\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
        (KvView::default(), b""),
    ];
    for (view, expected) in rows {
        assert_eq!(view.encode(), expected);
        assert_eq!(KvView::parse(expected), Ok(view));
    }
}

#[test]
fn key_shares_the_buffer() {
    let stored = Bytes::from_static(b"\x0a\x02a1\x10\x02");
    let key = key_of(&stored).unwrap();
    assert_eq!(key, "a1");
    assert_eq!(key.as_ptr(), stored[2..].as_ptr());
}

#[test]
fn unknown_fields_are_skipped() {
    let bytes =
        b"\x38\x05\x41\x00\x00\x00\x00\x00\x00\x00\x00\x4a\x01z\x55\x00\x00\x00\x00\x0a\x01k";
    assert_eq!(KvView::parse(bytes).unwrap().key, b"k");
}

#[test]
fn malformed_bytes_are_refused() {
    let rows: [&[u8]; 8] = [
        b"\x0a",
        b"\x0a\x02k",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x10\x80",
        b"\x08\x01",
        b"\x12\x01a",
        b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x3b\x00",
    ];
    for bytes in rows {
        assert!(matches!(KvView::parse(bytes), Err(Malformed(_))), "{bytes:?}");
    }
}
