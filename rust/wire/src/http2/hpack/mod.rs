//! Compressed header blocks (RFC 7541): the decoder, and the stateless writing of ours.

mod huffman;
mod table;
mod tables;

use table::Table;
use tables::STATIC;

/// A header block that is none; the peers' tables differ from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The size of the table that a peer may use: the default, which need not be announced.
const TABLE_BYTES: usize = 4096;

/// What is remembered of earlier blocks.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
        }
    }
}

impl Decoder {
    /// Calls `take` with the names and values of one whole block. Each is borrowed for the call: an
    /// entry that is named a thousand times is not copied once.
    ///
    /// # Errors
    /// The bytes are no block.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut input = block;
        let mut scratch = Vec::new();
        let mut begun = false;
        while let Some(&first) = input.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut input, 7)?;
                let (name, value) = self.entry(index)?;
                take(name, value);
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut input, 5)? as usize;
                // At the beginning of a block only (section 4.2).
                if begun || size > TABLE_BYTES {
                    return Err(Malformed);
                }
                self.table.resize(size);
                continue;
            } else {
                let keeps = first & 0x40 != 0;
                let index = integer(&mut input, if keeps { 6 } else { 4 })?;
                scratch.clear();
                if index == 0 {
                    string(&mut input, &mut scratch)?;
                } else {
                    scratch.extend_from_slice(self.entry(index)?.0);
                }
                let name_bytes = scratch.len();
                string(&mut input, &mut scratch)?;
                let (name, value) = scratch.split_at_checked(name_bytes).ok_or(Malformed)?;
                take(name, value);
                if keeps {
                    self.table.insert(name, value);
                }
            }
            begun = true;
        }
        Ok(())
    }

    fn entry(&self, index: u32) -> Result<(&[u8], &[u8]), Malformed> {
        let index = (index as usize).checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        self.table.get(index - STATIC.len()).ok_or(Malformed)
    }
}

/// An integer whose first `prefix` bits stand in the first byte (section 5.1).
fn integer(input: &mut &[u8], prefix: u32) -> Result<u32, Malformed> {
    let mut next = || {
        let (&first, rest) = input.split_first().ok_or(Malformed)?;
        *input = rest;
        Ok(u32::from(first))
    };
    let mask = (1 << prefix) - 1;
    let mut value = next()? & mask;
    if value < mask {
        return Ok(value);
    }
    // Four bytes are above every size that we take, and below any overflow.
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Appends a string (section 5.2).
fn string(input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let coded = input.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(input, 7)? as usize;
    let (bytes, rest) = input.split_at_checked(length).ok_or(Malformed)?;
    *input = rest;
    if coded {
        huffman::decode(bytes, out)
    } else {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Appends a field that refers to no table but the static one and is put into none, so that the same
/// bytes fit every connection. `name` is in lower case.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &str) {
    let index = STATIC.iter().position(|(known, _)| *known == name);
    write_integer(out, 0, 4, index.map_or(0, |at| at as u32 + 1));
    if index.is_none() {
        write_string(out, name);
    }
    write_string(out, value);
}

/// Appends the status of a response.
pub fn write_status(out: &mut Vec<u8>, status: u16) {
    let text = itoa::Buffer::new().format(status).to_owned();
    let whole = STATIC
        .iter()
        .position(|(name, value)| *name == ":status" && *value == text);
    match whole {
        Some(at) => write_integer(out, 0x80, 7, at as u32 + 1),
        None => write_field(out, ":status", &text),
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_integer(out, 0, 7, text.len() as u32);
    out.extend_from_slice(text.as_bytes());
}

fn write_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: u32) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return out.push(pattern | value as u8);
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(String, String)>;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
        let mut fields = Fields::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, |name, value| fields.push((text(name), text(value))))?;
        Ok(fields)
    }

    fn fields(list: &[(&str, &str)]) -> Fields {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|digit| *digit != ' ').collect();
        let byte = |pair: &[char]| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).expect("hexadecimal")
        };
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn three_requests_of_the_rfc_with_and_without_huffman() {
        // RFC 7541 appendices C.3 and C.4.
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            let mut next = |at: usize| decoded(&mut decoder, &bytes(blocks[at]));
            let get = |path, scheme| {
                vec![
                    (":method", "GET"),
                    (":scheme", scheme),
                    (":path", path),
                    (":authority", "www.example.com"),
                ]
            };
            assert_eq!(next(0), Ok(fields(&get("/", "http"))));
            let mut second = get("/", "http");
            second.push(("cache-control", "no-cache"));
            assert_eq!(next(1), Ok(fields(&second)));
            let mut third = get("/index.html", "https");
            third.push(("custom-key", "custom-value"));
            assert_eq!(next(2), Ok(fields(&third)));
            assert_eq!(decoder.table.size(), 164);
        }
    }

    #[test]
    fn what_we_write_is_read_and_leaves_no_trace() {
        let long = "v".repeat(300);
        let list = [
            (":status", "409"),
            ("content-type", "text/plain"),
            ("x-own", &*long),
            ("date", ""),
        ];
        let mut block = Vec::new();
        write_status(&mut block, 409);
        for (name, value) in &list[1..] {
            write_field(&mut block, name, value);
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoded(&mut decoder, &block), Ok(fields(&list)));
        assert_eq!(decoder.table.size(), 0);
        block.clear();
        write_status(&mut block, 200);
        assert_eq!(block, [0x88]);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let bad = [
            "80",                  // index 0
            "c6",                  // an entry that is not there
            "3fe2 1f",             // a table above the limit
            "8220",                // a table's size behind a field
            "ffff ffff ffff ffff", // a number without an end
            "0003 6162",           // a string that ends early
            "00",                  // no string
            "0083 ffff ff00",      // padding of three bytes
        ];
        for block in bad {
            assert_eq!(
                decoded(&mut Decoder::default(), &bytes(block)),
                Err(Malformed),
                "{block}"
            );
        }
    }

    #[test]
    fn the_table_forgets_what_is_above_its_size() {
        let mut decoder = Decoder::default();
        let mut block = Vec::new();
        for at in 0..200 {
            block.extend_from_slice(&[0x40, 4]);
            block.extend_from_slice(format!("n{at:03}").as_bytes());
            block.push(60);
            block.extend_from_slice(&[b'v'; 60]);
        }
        decoded(&mut decoder, &block).expect("a block");
        assert!(decoder.table.size() <= TABLE_BYTES);
        // 96 bytes each: the latest 42 are there, the newest first.
        assert_eq!(
            decoded(&mut decoder, &[0xbe]).expect("an entry")[0].0,
            "n199"
        );
        assert_eq!(
            decoded(&mut decoder, &[0x80 | (62 + 41)]).expect("an entry")[0].0,
            "n158"
        );
        assert_eq!(decoded(&mut decoder, &[0x80 | (62 + 42)]), Err(Malformed));
        // Nothing is left of it at size 0.
        decoded(&mut decoder, &[0x20]).expect("a size");
        assert_eq!(decoder.table.size(), 0);
        assert_eq!(decoded(&mut decoder, &[0xbe]), Err(Malformed));
    }
}
