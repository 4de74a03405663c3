//! Reads a log's batches without changing or locking it, also while a server writes it.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::batch::BatchView;
use crate::chain::{Chain, Segment};
use crate::error::{LogError, What};
use crate::file_system::FileSystem;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::reader::scan_error;
use crate::recovery::read_headers;
use crate::scanner::{ScanError, Scanner};

/// A server may remove segments that were listed; then the listing is read again, this often.
pub(crate) const LISTINGS_MAX: u32 = 10;

/// Shows every batch that ends at or behind position `from` to `each`, in order, until it breaks.
///
/// Stops without an error before half a batch at the log's end: it may be the one in flight. Fails
/// at the first damage, which [`verify`](crate::verify) describes in full.
pub fn walk(
    fs: &dyn FileSystem,
    dir: &Path,
    from: u64,
    mut each: impl FnMut(&BatchView<'_>) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let (chain, headers) = listed(fs, dir)?;
    let mut begun = false;
    for (index, (&id, header)) in chain.segments.iter().zip(&headers).enumerate() {
        let next = headers.get(index + 1);
        if next.is_some_and(|next| next.base_position <= from) {
            continue;
        }
        let path = id.path(dir);
        let file = match fs.open_read(&path) {
            // Removed since: the log begins behind it now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !begun => continue,
            opened => opened.map_err(LogError::io("open", &path))?,
        };
        begun = true;
        let found = file.length().map_err(LogError::io("read", &path))?;
        let segment = Segment {
            id,
            base_position: header.base_position,
            length: sealed_length(next).unwrap_or(found),
            salt: header.salt,
        };
        let mut scanner = Scanner::new(file, &segment, Vec::new());
        loop {
            match scanner.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(ScanError::Damage(What::Batch | What::Short { .. })) if next.is_none() => {
                    return Ok(());
                }
                Err(error) => return Err(scan_error(dir, &segment, &scanner, error)),
            }
            let batch = scanner.current();
            if batch.last_position() >= from && each(&batch).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The segments with their headers, all of one moment.
pub(crate) fn listed(
    fs: &dyn FileSystem,
    dir: &Path,
) -> Result<(Chain, Vec<SegmentHeader>), LogError> {
    let mut listings = 0;
    loop {
        listings += 1;
        let names = fs.list(dir).map_err(LogError::io("list", dir))?;
        let chain = Chain::of(dir, &names)?;
        match read_headers(fs, dir, &chain.segments) {
            Ok(headers) => return Ok((chain, headers)),
            Err(LogError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && listings < LISTINGS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

fn sealed_length(next: Option<&SegmentHeader>) -> Option<u64> {
    next.map(|next| next.predecessor_length.max(SEGMENT_HEADER_BYTES as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sim::SimFs;
    use crate::{Batch, Log, OpenOptions, put_command};

    const DIR: &str = "/log";

    fn filled(fs: &SimFs, batches: u64) {
        let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
        let opened = Log::open(fs, Path::new(DIR), OpenOptions::new(0, 1)).expect("opens");
        let (mut log, first) = (opened.log, opened.last_position + 1);
        for number in 0..batches {
            let mut payload = Vec::new();
            put_command(&mut payload, b"one");
            put_command(&mut payload, b"two");
            let batch = Batch {
                first_position: first + 2 * number,
                time_ms: 5,
                fold_version: 1,
                count: 2,
                payload,
            };
            log.append_now(&batch).expect("appends");
        }
    }

    fn seen(fs: &SimFs, from: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        walk(fs, Path::new(DIR), from, |batch| {
            positions.push(batch.first_position);
            ControlFlow::Continue(())
        })
        .expect("an undamaged log");
        positions
    }

    #[test]
    fn walk_shows_the_batches_of_all_segments_from_a_position_on() {
        let fs = SimFs::new();
        filled(&fs, 2);
        filled(&fs, 2);
        assert_eq!(seen(&fs, 0), [1, 3, 5, 7]);
        assert_eq!(seen(&fs, 4), [3, 5, 7], "4 is the second of its batch");
        assert_eq!(seen(&fs, 7), [7]);
        assert_eq!(seen(&fs, 9), [0; 0]);
    }

    #[test]
    fn walk_ends_where_its_caller_breaks() {
        let fs = SimFs::new();
        filled(&fs, 3);
        let mut count = 0;
        walk(&fs, Path::new(DIR), 0, |_| {
            count += 1;
            ControlFlow::Break(())
        })
        .expect("an undamaged log");
        assert_eq!(count, 1);
    }
}
