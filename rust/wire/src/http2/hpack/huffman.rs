//! Strings in the Huffman code of RFC 7541 section 5.2.

use super::Malformed;
use super::tables::CODE_BITS;

const LONGEST: usize = 30;
/// The code that ends a string, and must not be in one.
const END: u16 = 256;

/// The code by the lengths of its words, which stand at the upper end of 32 bits.
struct Code {
    /// Where the words of each length end.
    limit: [u64; LONGEST + 1],
    /// The first word of each length, and its place among the symbols.
    first: [u32; LONGEST + 1],
    place: [u16; LONGEST + 1],
    /// In the order of their words.
    symbols: [u16; 257],
    /// Symbol and length of the words of up to eight bits, by the first eight; 0: longer.
    short: [(u8, u8); 256],
}

static CODE: Code = code();

#[expect(
    clippy::indexing_slicing,
    reason = "while compiling: what is out of bounds does not compile"
)]
const fn code() -> Code {
    let mut code = Code {
        limit: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
        symbols: [0; 257],
        short: [(0, 0); 256],
    };
    let mut next: u64 = 0;
    let mut placed = 0;
    let mut bits = 1;
    while bits <= LONGEST {
        code.first[bits] = next as u32;
        code.place[bits] = placed as u16;
        let step = 1 << (32 - bits);
        let mut symbol = 0;
        while symbol < CODE_BITS.len() {
            if CODE_BITS[symbol] as usize == bits {
                code.symbols[placed] = symbol as u16;
                placed += 1;
                if bits <= 8 {
                    let mut at = (next >> 24) as usize;
                    while at < ((next + step) >> 24) as usize {
                        code.short[at] = (symbol as u8, bits as u8);
                        at += 1;
                    }
                }
                next += step;
            }
            symbol += 1;
        }
        code.limit[bits] = next;
        bits += 1;
    }
    code
}

/// Appends what `input` stands for.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut input = input.iter();
    let (mut bits, mut held): (u64, u32) = (0, 0);
    loop {
        while held <= 32 {
            let Some(byte) = input.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            held += 8;
        }
        // Ones stand behind the end: the beginning of the code that is never there.
        let window = if held >= 32 {
            (bits >> (held - 32)) as u32
        } else {
            (bits << (32 - held)) as u32 | u32::MAX.checked_shr(held).unwrap_or(0)
        };
        let (symbol, length) = first_word(window);
        if length > held {
            let padding = held < 8 && window == u32::MAX;
            return if padding { Ok(()) } else { Err(Malformed) };
        }
        if symbol == END {
            return Err(Malformed);
        }
        out.push(symbol as u8);
        held -= length;
    }
}

/// The symbol and the length of the word that `window` begins with.
fn first_word(window: u32) -> (u16, u32) {
    let short = CODE.short.get((window >> 24) as usize);
    if let Some((symbol, length @ 1..)) = short {
        return (u16::from(*symbol), u32::from(*length));
    }
    for (length, limit) in CODE.limit.iter().enumerate().skip(9) {
        if u64::from(window) < *limit {
            let first = CODE.first.get(length).copied().unwrap_or(0);
            let place = CODE.place.get(length).copied().unwrap_or(0);
            let at = usize::from(place) + ((window - first) >> (32 - length)) as usize;
            return (CODE.symbols.get(at).copied().unwrap_or(END), length as u32);
        }
    }
    (END, LONGEST as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    /// The words of all symbols one after the other.
    fn encoded(symbols: &[u8]) -> Vec<u8> {
        let mut words = [0_u32; 257];
        for (length, first) in CODE.first.iter().enumerate().skip(1) {
            let of_length = CODE_BITS.iter().enumerate();
            let of_length = of_length.filter(|(_, bits)| usize::from(**bits) == length);
            for (nth, (symbol, _)) in of_length.enumerate() {
                words[symbol] = (first >> (32 - length)) + nth as u32;
            }
        }
        let mut bits: Vec<bool> = Vec::new();
        for symbol in symbols {
            let length = CODE_BITS[usize::from(*symbol)];
            let word = words[usize::from(*symbol)];
            bits.extend((0..length).rev().map(|at| word >> at & 1 == 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(true);
        }
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let www = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&www), Ok(b"www.example.com".to_vec()));
        assert_eq!(
            decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            Ok(b"no-cache".to_vec())
        );
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }

    #[test]
    fn every_octet_survives() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encoded(&all)), Ok(all.clone()));
        for octet in 0..=255 {
            assert_eq!(decoded(&encoded(&[octet])), Ok(vec![octet]), "{octet}");
        }
    }

    #[test]
    fn wrong_padding_and_the_end_within_a_string_are_refused() {
        // `a` (00011) with zeros behind it, and a whole byte of padding.
        for bad in [
            &[0b0001_1000][..],
            &[0b0001_1111, 0xff],
            &[0xff; 4],
            &[0xff],
        ] {
            assert_eq!(decoded(bad), Err(Malformed), "{bad:?}");
        }
    }
}
