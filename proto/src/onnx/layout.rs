//! Telling an ONNX model from other files without reading it.

use std::io::{self, Read, Seek, SeekFrom};

use prost::encoding::decode_varint;

/// `ModelProto.graph`.
const GRAPH: u64 = 7;

/// Most fields of a model, its repeated ones counted one by one.
const MAX_FIELDS: usize = 100_000;

/// Bytes of two varints: the key of a field, and its length or value.
const HEAD: u64 = 20;

/// Whether a file is laid out as an ONNX model: protobuf fields to its very end, a graph among them. Reads a few bytes of each field,
/// so the size of the graph does not matter; what is in it may still be damaged.
///
/// # Errors
/// Those of the file.
pub fn is_model(mut file: impl Read + Seek) -> io::Result<bool> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut has_graph) = (0, false);
    let mut head = Vec::new();
    for _ in 0..MAX_FIELDS {
        if at == end {
            return Ok(has_graph);
        }
        head.clear();
        file.seek(SeekFrom::Start(at))?;
        file.by_ref().take(HEAD).read_to_end(&mut head)?;
        let Some((number, len)) = field(&head) else { return Ok(false) };
        has_graph |= number == GRAPH;
        at = match at.checked_add(len) {
            Some(next) if next <= end => next,
            _ => return Ok(false),
        };
    }
    Ok(false)
}

/// The number of a field and its length, from its first bytes.
fn field(head: &[u8]) -> Option<(u64, u64)> {
    let mut rest = head;
    let key = decode_varint(&mut rest).ok()?;
    let content = match key & 7 {
        0 => decode_varint(&mut rest).ok().map(|_| 0),
        1 => Some(8),
        2 => decode_varint(&mut rest).ok(),
        5 => Some(4),
        _ => None,
    }?;
    let number = key >> 3;
    let len = content.checked_add((head.len() - rest.len()) as u64)?;
    // A graph of another wire type is no graph.
    (number > 0 && (number != GRAPH || key & 7 == 2)).then_some((number, len))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn told(bytes: &[u8]) -> bool {
        is_model(Cursor::new(bytes)).unwrap()
    }

    #[test]
    fn models_are_told_from_other_files() {
        let model = include_bytes!("sample.onnx");
        assert!(told(model));
        assert!(!told(&model[..model.len() - 1]));
        assert!(!told(&[&model[..], &[0]].concat()));
        // No graph; a graph that is a number; an empty graph.
        assert!(!told(b"\x08\x08"));
        assert!(!told(b"\x08\x08\x38\x00"));
        assert!(told(b"\x08\x08\x3a\x00"));
        for other in
            [&b""[..], b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"TRT-8503-EntropyCalibration2\n", &[0xff; 64]]
        {
            assert!(!told(other), "{other:?}");
        }
        assert!(!told(&b"\x08\x08".repeat(MAX_FIELDS + 1)));
    }
}
