//! The frame around every record: length, checksum of the length, payload, checksum of the payload.
//!
//! Layout, all little-endian: `u64` length, `u32` masked CRC-32C of those 8 bytes, the payload, `u32` masked
//! CRC-32C of the payload. Source: <https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details>.

use std::io::{self, ErrorKind, Read, Write};
use std::iter::FusedIterator;

/// Longest payload accepted. A record of a detector takes a few kilobytes, one with an image a few megabytes.
const MAX_PAYLOAD: u64 = 64 << 20;

/// Length and its checksum.
const HEADER: usize = 12;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the record at byte {offset}: {problem}")]
pub struct RecordError {
    /// Where the record starts, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong with it.
    #[source]
    pub problem: RecordProblem,
}

/// What can be wrong with a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordProblem {
    /// The first bytes are those of a gzip file.
    #[error("this is a gzip file; unpack it, TFRecords are read uncompressed")]
    Gzip,
    /// The length and its checksum disagree.
    #[error(
        "its length does not match the checksum behind it; \
         the file is damaged or not a TFRecord, restore or convert it again"
    )]
    LengthChecksum,
    /// The length is sound but beyond reason.
    #[error("it is {0} bytes long, more than the {MAX_PAYLOAD} accepted; it does not describe one image")]
    TooLong(u64),
    /// The payload and its checksum disagree.
    #[error(
        "its content does not match its checksum; the file is damaged, restore it or convert the data again"
    )]
    PayloadChecksum,
    /// The file ends inside the record.
    #[error("the file ends within it; copy the file again in full, or convert the data again")]
    CutOff,
    /// The system cannot read on.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The payloads of a file, in order. Holds one record at a time; ends after the first error.
///
/// Reads in small pieces: give it a [`std::io::BufReader`].
#[derive(Debug)]
pub struct Records<R> {
    input: R,
    offset: u64,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// Reads from the start of a file.
    pub fn new(input: R) -> Self {
        Self { input, offset: 0, ended: false }
    }

    /// The next payload; `None` at the end of the file.
    fn read(&mut self) -> Result<Option<Vec<u8>>, RecordProblem> {
        let mut header = Vec::with_capacity(HEADER);
        self.input.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
        if header.is_empty() {
            return Ok(None);
        }
        if self.offset == 0 && header.starts_with(&[0x1f, 0x8b]) {
            return Err(RecordProblem::Gzip);
        }
        let Some((&length, checksum)) = header.split_first_chunk::<8>() else {
            return Err(RecordProblem::CutOff);
        };
        let checksum = checksum.try_into().map_err(|_| RecordProblem::CutOff)?;
        if u32::from_le_bytes(checksum) != masked_crc(&length) {
            return Err(RecordProblem::LengthChecksum);
        }
        let length = u64::from_le_bytes(length);
        if length > MAX_PAYLOAD {
            return Err(RecordProblem::TooLong(length));
        }
        // Grows with what is there, not with what the length promises.
        let mut payload = Vec::new();
        self.input.by_ref().take(length + 4).read_to_end(&mut payload)?;
        if payload.len() as u64 != length + 4 {
            return Err(RecordProblem::CutOff);
        }
        let (&content, &checksum) = (&payload.as_slice(), payload.last_chunk::<4>().unwrap_or(&[0; 4]));
        if u32::from_le_bytes(checksum) != masked_crc(&content[..content.len() - 4]) {
            return Err(RecordProblem::PayloadChecksum);
        }
        payload.truncate(payload.len() - 4);
        self.offset += HEADER as u64 + length + 4;
        Ok(Some(payload))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Vec<u8>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let offset = self.offset;
        let record = self.read().map_err(|problem| RecordError { offset, problem }).transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}

impl<R: Read> FusedIterator for Records<R> {}

/// Appends one record.
///
/// # Errors
/// What the system says, or [`ErrorKind::InvalidInput`] for a payload that [`Records`] would refuse as too long.
pub fn write_record(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = payload.len() as u64;
    if length > MAX_PAYLOAD {
        return Err(io::Error::new(ErrorKind::InvalidInput, RecordProblem::TooLong(length)));
    }
    let length = length.to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_crc(&length).to_le_bytes())?;
    out.write_all(payload)?;
    out.write_all(&masked_crc(payload).to_le_bytes())
}

/// CRC-32C, rotated and offset, so that the checksum of data that holds checksums stays sound.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            write_record(&mut out, payload).unwrap();
        }
        out
    }

    /// Every payload up to the first error, and the error.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<RecordError>) {
        let (mut good, mut bad) = (Vec::new(), None);
        for record in Records::new(bytes) {
            assert!(bad.is_none(), "goes on after an error");
            match record {
                Ok(payload) => good.push(payload),
                Err(error) => bad = Some(error),
            }
        }
        (good, bad)
    }

    /// The first event of every TensorBoard file starts with these bytes: 24 bytes of payload.
    #[test]
    fn checksums_are_tensorflows() {
        let record = file(&[&[0; 24]]);
        assert_eq!(record[..12], [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720); rotated right by 15 and offset, by hand.
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn records_come_back_in_order() {
        let payloads: [&[u8]; 3] = [b"one", b"", &[7; 70_000]];
        let (good, bad) = read(&file(&payloads));
        assert_eq!(good, payloads);
        assert!(bad.is_none());
        assert!(read(b"").0.is_empty());
    }

    #[test]
    fn every_truncation_is_told() {
        let bytes = file(&[b"first", b"second"]);
        for length in 0..bytes.len() {
            let (good, bad) = read(&bytes[..length]);
            if length == 0 || length == 21 {
                assert!(bad.is_none());
                continue;
            }
            let error = bad.unwrap();
            assert_eq!(good.len(), usize::from(length > 21));
            assert_eq!(error.offset, if length > 21 { 21 } else { 0 });
            assert!(matches!(error.problem, RecordProblem::CutOff), "{length}: {error}");
        }
    }

    #[test]
    fn every_flipped_bit_is_told() {
        let bytes = file(&[b"first", b"second"]);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (good, bad) = read(&bytes);
            let error = bad.unwrap();
            let record = usize::from(bit / 8 >= 21);
            assert_eq!((good.len(), error.offset), (record, 21 * record as u64));
            let in_header = bit / 8 % 21 < 12 && bit / 8 < 33;
            assert_eq!(
                matches!(error.problem, RecordProblem::LengthChecksum),
                in_header,
                "bit {bit}: {error}"
            );
        }
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        for length in [MAX_PAYLOAD, MAX_PAYLOAD + 1, u64::MAX] {
            let length = length.to_le_bytes();
            let bytes = [&length[..], &masked_crc(&length).to_le_bytes()].concat();
            let error = read(&bytes).1.unwrap();
            let too_long = u64::from_le_bytes(length) > MAX_PAYLOAD;
            assert_eq!(matches!(error.problem, RecordProblem::TooLong(_)), too_long, "{error}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let told = |bytes: &[u8]| read(bytes).1.unwrap().to_string();
        assert!(told(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).contains("gzip"));
        assert!(told(b"{\n  \"a.txt_0\": [1, 2, 3, 4]\n}").contains("byte 0: its length"));
    }
}
