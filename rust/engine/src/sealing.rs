//! Plaintext on its way into TLS: sealed in buffers that all connections share, in records as large as
//! may be.

use crate::io::Io;
use crate::layer::Layer;
use crate::send_queue::{BufferPool, Outlet, Progress, SendQueue};
use crate::system::{Socket, socket};
use imfast_tls::{RECORD_BYTES, Tls};
use rustix::io::Errno;
use std::io::IoSlice;

/// Plaintext that is sealed before the socket is tried: four records.
const BATCH: usize = 4 * RECORD_BYTES;

/// Buffers that are lent to whichever connection is being worked on.
#[derive(Default)]
pub(crate) struct Lent {
    pub plain: Vec<u8>,
    pub wire: Vec<u8>,
}

/// Where the bytes of one connection's queue go.
pub(crate) struct Sealing<'a> {
    pub tls: &'a mut Tls,
    pub fd: &'a Socket,
    pub lent: &'a mut Lent,
}

impl Sealing<'_> {
    /// Writes as much of a queue as the socket takes.
    pub(crate) fn write(
        mut self,
        queue: &mut SendQueue,
        pool: &mut BufferPool,
    ) -> Result<Progress, Errno> {
        if !self.send_unsent()? {
            return Ok(Progress::Blocked);
        }
        let progress = queue.write_to(&mut self, pool)?;
        // Sealed is not sent.
        Ok(match self.tls.unsent() {
            [] => progress,
            _ => Progress::Blocked,
        })
    }

    /// Writes what the socket did not take before; whether it took all of it now.
    pub(crate) fn send_unsent(&mut self) -> Result<bool, Errno> {
        while !self.tls.unsent().is_empty() {
            match socket::send(self.fd, self.tls.unsent()) {
                Ok(count) => self.tls.sent(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes what is in the lent buffer, and keeps what the socket does not take.
    fn send_wire(&mut self) -> Result<(), Errno> {
        let sent = match socket::send(self.fd, &self.lent.wire) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error),
        };
        if let Some(rest) = self.lent.wire.get(sent..).filter(|rest| !rest.is_empty()) {
            self.tls.keep_unsent(rest);
        }
        Ok(())
    }
}

impl Outlet for Sealing<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut taken = 0;
        for piece in bytes.chunks(BATCH) {
            if !self.send_unsent()? {
                break;
            }
            self.lent.wire.clear();
            // Nothing can be sent that was not sealed, and nothing can be left out.
            self.tls
                .seal(piece, &mut self.lent.wire)
                .map_err(|_| Errno::PIPE)?;
            taken += piece.len();
            self.send_wire()?;
        }
        if taken == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        Ok(taken)
    }

    fn send_many(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut plain = std::mem::take(&mut self.lent.plain);
        let mut taken = 0;
        let mut rest = slices;
        while !rest.is_empty() {
            plain.clear();
            // Small ones share a record; whatever is large enough goes by itself.
            while let Some((slice, after)) = rest.split_first() {
                if !plain.is_empty() && plain.len() + slice.len() > BATCH {
                    break;
                }
                plain.extend_from_slice(slice);
                rest = after;
            }
            match self.send(&plain) {
                Ok(count) => {
                    taken += count;
                    if count < plain.len() {
                        break;
                    }
                }
                Err(Errno::AGAIN) if taken > 0 => break,
                Err(error) => {
                    self.lent.plain = plain;
                    return Err(error);
                }
            }
        }
        self.lent.plain = plain;
        Ok(taken)
    }
}

impl Io {
    /// Sends the records in the lent buffer; what the socket does not take waits.
    pub(crate) fn send_records(&mut self, slot: u32) {
        if self.lent.wire.is_empty() {
            return;
        }
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let (Some(Layer::Tls(tls)), Some(fd)) =
            (connection.layer.as_deref_mut(), connection.fd.as_ref())
        else {
            return;
        };
        let mut sealing = Sealing {
            tls,
            fd,
            lent: &mut self.lent,
        };
        let sent = match sealing.send_unsent() {
            Ok(true) => sealing.send_wire(),
            Ok(false) => {
                sealing.tls.keep_unsent(&sealing.lent.wire);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let waits = !sealing.tls.unsent().is_empty();
        if sent.is_err() {
            return self.kill(slot);
        }
        if waits {
            // A queue, be it empty, says that the socket is not ready for more.
            let pool = &mut self.pool;
            connection.queue.get_or_insert_with(|| pool.take_queue());
            self.blocked(slot);
        }
    }

    /// Says that no more bytes come from us, in every layer.
    pub(crate) fn end_output(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let Some(fd) = &connection.fd else {
            return;
        };
        if let Some(Layer::Tls(tls)) = connection.layer.as_deref_mut() {
            self.lent.wire.clear();
            tls.close(&mut self.lent.wire);
            if !self.lent.wire.is_empty() {
                // A peer that does not take even that has not read what was before it either.
                let _ = socket::send(fd, &self.lent.wire);
            }
        }
        socket::half_close(fd);
    }

    /// Gives a connection up whose last record was sent already.
    pub(crate) fn kill_politely(&mut self, slot: u32) {
        self.end_output(slot);
        self.kill(slot);
    }
}
