//! Report files: text, the newest `FILES_MAX`, one per place of a fault in a process's life.

use super::events::recent;
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Reports that are kept; the oldest goes first.
const FILES_MAX: usize = 16;
/// Places remembered, so that a fault that a client can repeat is reported once.
const PLACES_MAX: usize = 64;
/// Characters of a panic's message that are kept.
const MESSAGE_MAX: usize = 160;

struct Reporter {
    dir: PathBuf,
    /// Names the process in file names: `n1.w0`.
    name: String,
    /// Versions and options, as lines.
    header: String,
    places: Mutex<Vec<String>>,
    last_panic: Mutex<Option<String>>,
}

static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// From now on a panic writes a report into `dir`, which exists, instead of a text to standard
/// error. `header` must be free of secrets. Only the first call in a process counts.
pub fn install(dir: PathBuf, name: String, header: String) {
    let reporter = Reporter {
        dir,
        name,
        header,
        places: Mutex::default(),
        last_panic: Mutex::default(),
    };
    if REPORTER.set(reporter).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
}

/// Writes a report. `None` where none is written: this place has one, or `install` was not called.
///
/// # Errors
/// What the disk says.
pub fn write(kind: &str, place: &str, what: &str, trace: &str) -> io::Result<Option<PathBuf>> {
    match REPORTER.get() {
        Some(reporter) if reporter.is_new(place) => {
            reporter.write(kind, place, what, trace).map(Some)
        }
        _ => Ok(None),
    }
}

/// Where and why the last panic was, and its report.
pub fn last_panic() -> Option<String> {
    lock(&REPORTER.get()?.last_panic).clone()
}

fn panicked(info: &PanicHookInfo<'_>) {
    let Some(reporter) = REPORTER.get() else {
        return;
    };
    let place = info
        .location()
        .map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let what = without_values(message.unwrap_or("a panic without a text"));
    let mut text = format!("{place}: {what}");
    if reporter.is_new(&place) {
        let trace = Backtrace::force_capture().to_string();
        match reporter.write("panic", &place, &what, &trace) {
            Ok(path) => {
                let _ = write!(text, " (report: {})", path.display());
            }
            Err(error) => eprintln!("{text}: no report could be written: {error}"),
        }
    }
    *lock(&reporter.last_panic) = Some(text);
}

/// The part of a panic's message that cannot be a client's: values are formatted behind a quote,
/// a backtick or a line's end, as `assert_eq!`, `unwrap` and slicing of text do.
fn without_values(message: &str) -> String {
    let end = message.find(['`', '"', '\'', '\n']);
    let kept = message.get(..end.unwrap_or(message.len())).unwrap_or("");
    let mut out: String = kept.chars().take(MESSAGE_MAX).collect();
    if out.len() < message.len() {
        out.push('…');
    }
    out
}

impl Reporter {
    fn is_new(&self, place: &str) -> bool {
        let mut places = lock(&self.places);
        if places.len() >= PLACES_MAX || places.iter().any(|known| known == place) {
            return false;
        }
        places.push(place.to_owned());
        true
    }

    fn write(&self, kind: &str, place: &str, what: &str, trace: &str) -> io::Result<PathBuf> {
        let ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        remove_oldest(&self.dir, FILES_MAX - 1)?;
        let process = std::process::id();
        let name = format!("crash-{ms:013}-{}-{process}-{kind}.txt", self.name);
        let path = self.dir.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        write!(
            file,
            "imfast crash report\nkind: {kind}\nplace: {place}\nwhat: {what}\nprocess: {} {process}\n\
             unix_ms: {ms}\n{}\n-- last events, the oldest first (ms since the start, numbers)\n{}\n\
             -- trace\n{trace}\n",
            self.name,
            self.header,
            recent(),
        )?;
        Ok(path)
    }
}

/// Removes reports until `keep` are left. Their names begin with their time.
fn remove_oldest(dir: &Path, keep: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b"crash-") {
            names.push(name);
        }
    }
    names.sort();
    let surplus = names.len().saturating_sub(keep);
    for name in names.iter().take(surplus) {
        // Another worker may be doing the same.
        let _ = fs::remove_file(dir.join(name));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panics_message_is_kept_up_to_where_values_begin() {
        for (message, kept) in [
            (
                "index out of bounds: the len is 3 but the index is 7",
                "index out of bounds: the len is 3 but the index is 7",
            ),
            (
                "byte index 5 is inside 'é' of `my secret`",
                "byte index 5 is inside …",
            ),
            (
                "assertion `left == right` failed\n  left: \"secret\"",
                "assertion …",
            ),
            ("first\nsecret", "first…"),
        ] {
            assert_eq!(without_values(message), kept);
        }
        assert!(without_values(&"x".repeat(5000)).len() < 200);
    }

    #[test]
    fn only_the_newest_reports_are_kept_and_other_files_are_left_alone() {
        let dir = std::env::temp_dir().join(format!("imfast-crash-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        let reporter = Reporter {
            dir: dir.clone(),
            name: "n1.w0".to_owned(),
            header: "versions: none".to_owned(),
            places: Mutex::default(),
            last_panic: Mutex::default(),
        };
        fs::write(dir.join("a-note"), "").expect("a file");
        for number in 0..FILES_MAX + 3 {
            fs::write(
                dir.join(format!("crash-{number:013}-n1.w0-1-panic.txt")),
                "",
            )
            .expect("a file");
        }
        let path = reporter
            .write("panic", "a.rs:1", "x", "trace")
            .expect("a report");
        let names: Vec<String> = fs::read_dir(&dir)
            .expect("listing")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        assert_eq!(names.len(), FILES_MAX + 1, "{names:?}");
        assert!(names.contains(&"a-note".to_owned()));
        let text = fs::read_to_string(path).expect("the report");
        for part in ["place: a.rs:1", "versions: none", "-- last events", "trace"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(reporter.is_new("a.rs:1") && !reporter.is_new("a.rs:1"));
        fs::remove_dir_all(dir).expect("clean-up");
    }
}
