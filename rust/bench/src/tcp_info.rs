//! What the kernel counts for a socket.

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::io::Errno;

use crate::failure::Failure;

/// Offset of `tcpi_data_segs_in` in `struct tcp_info` of `linux/tcp.h`, which only grows at its end.
const DATA_SEGMENTS_IN: usize = 152;
const BYTES: usize = 160;

/// Segments with data that came in. On loopback a segment is what one `send` wrote, so the frames
/// in it are how many a server coalesces.
pub(crate) fn segments_received(socket: &OwnedFd) -> Result<u64, Failure> {
    let mut info = [0u8; BYTES];
    let mut length = BYTES as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which has them and lives on.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return Err(Failure::System("TCP_INFO", Errno::from_raw_os_error(errno)));
    }
    let field = info[DATA_SEGMENTS_IN..].first_chunk().copied();
    Ok(u64::from(u32::from_ne_bytes(field.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn three_sends_on_loopback_are_three_segments() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("listening");
        let (mut server, _) = listener.accept().expect("connected");
        server.set_nodelay(true).expect("a TCP socket");
        for _ in 0..3 {
            server.write_all(b"frame").expect("open");
            client.read_exact(&mut [0; 5]).expect("open");
        }
        let socket = OwnedFd::from(client);
        assert_eq!(segments_received(&socket).expect("a TCP socket"), 3);
    }
}
