//! Serves [`Echo`] on a listening socket, a thread a connection: enough for a conformance suite,
//! which opens them one after the other, and not meant for more.

use imfast_session::{Echo, Echoed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// How often [`serve_echo`] asks whether it should stop.
const STOP_CHECK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// How long a peer gets to close its side after we closed ours.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 64 * 1024;

/// Accepts connections until `stop` says so; open ones go on until their peers leave.
///
/// # Errors
/// What polling or accepting reports.
pub fn serve_echo(listener: &TcpListener, mut stop: impl FnMut() -> bool) -> Result<()> {
    listener.set_nonblocking(true)?;
    while !stop() {
        let mut ready = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut ready, Some(&STOP_CHECK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match listener.accept() {
            Ok((stream, _)) => {
                std::thread::spawn(move || converse(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Serves one connection; a peer that went is the end of it, like any other.
fn converse(mut stream: TcpStream) {
    if talk(&mut stream).is_ok() {
        let _ = close(&mut stream);
    }
}

fn talk(stream: &mut TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut echo = Echo::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut held = 0;
    let mut out = Vec::new();
    loop {
        if held == buffer.len() {
            buffer.resize(buffer.len() + READ_BYTES, 0);
        }
        let read = stream.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut at = 0;
        let ended = loop {
            match echo.receive(&mut buffer[at..held], &mut out) {
                Echoed::Incomplete => break false,
                Echoed::Consumed(consumed) => at += consumed,
                Echoed::Ended => break true,
            }
        };
        buffer.copy_within(at..held, 0);
        held -= at;
        stream.write_all(&out)?;
        out.clear();
        if ended {
            return Ok(());
        }
    }
}

/// Ends our side, and reads on until the peer has ended its own: closing a socket that has unread
/// bytes would make the kernel take back what was sent last.
fn close(stream: &mut TcpStream) -> Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(CLOSE_WAIT))?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_request_that_is_no_handshake_is_answered_and_the_server_stops_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let server = scope.spawn(|| serve_echo(&listener, || stop.load(Ordering::Relaxed)));
            let mut client = TcpStream::connect(address).expect("connected");
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .expect("sent");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("closed cleanly");
            assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
            stop.store(true, Ordering::Relaxed);
            let stopped = server.join().expect("no panic");
            assert!(stopped.is_ok());
        });
    }
}
