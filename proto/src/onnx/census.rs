//! Counts the parts of a model before decoding it.
//!
//! An empty node takes 2 bytes in a file and some 170 in memory. Counting first keeps a hostile file from
//! growing a hundredfold; what is left, packed numbers and short strings, grows by less than 25.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::OnnxError;

/// The most parts accepted. The largest YOLOv4 has a few thousand.
const MAX_PARTS: usize = 500_000;

/// `ModelProto.graph`, `GraphProto.node`.
const GRAPH: u32 = 7;
const NODE: u32 = 1;

/// Counts the length-delimited fields of the graph and of its nodes.
pub(super) fn check(mut model: &[u8]) -> Result<(), OnnxError> {
    let mut parts = 0;
    let mut count = || {
        parts += 1;
        if parts > MAX_PARTS { Err(OnnxError::TooManyParts { limit: MAX_PARTS }) } else { Ok(()) }
    };
    while let Some((tag, mut graph)) = next_message(&mut model)? {
        if tag != GRAPH {
            continue;
        }
        while let Some((tag, mut part)) = next_message(&mut graph)? {
            count()?;
            while tag == NODE && next_message(&mut part)?.is_some() {
                count()?;
            }
        }
    }
    Ok(())
}

/// Takes fields off the front until one is length-delimited: its tag and contents. `None` at the end, and
/// when the contents are cut short: that is left to the decoder, whose message names the field.
fn next_message<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, DecodeError> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(bytes)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, bytes, DecodeContext::default())?;
            continue;
        }
        let len = decode_varint(bytes)?;
        let Some((contents, rest)) = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len))
        else {
            return Ok(None);
        };
        *bytes = rest;
        return Ok(Some((tag, contents)));
    }
    Ok(None)
}
