//! One worker's engine: all its sockets, links and partitions behind one descriptor.
//!
//! A tick is [`Engine::poll`] (sockets are read, frames parsed, commands queued), the partitions'
//! batches (begun here, numbered by the caller, appended here), the answers and deliveries of what
//! was committed, and [`Engine::flush`] (fan-out slices and writes). Nothing in it waits.

use crate::accept::Listener;
use crate::act::Acted;
use crate::arrivals::Arrival;
use crate::burst::Burst;
use crate::config::EngineConfig;
use crate::connection::{Gather, NONE};
use crate::crash::{self, Event};
use crate::ephemeral::Collapse;
use crate::expiries::Expiries;
use crate::faults::{Fault, Faults};
use crate::groups::{Groups, Slice};
use crate::histogram::Histogram;
use crate::io::{Io, IoLimits};
use crate::links::Links;
use crate::owner::Owned;
use crate::peers::Peers;
use crate::presence::Presence;
use crate::requests::Request;
use crate::seats::Seats;
use crate::slab::Handle;
use crate::stats;
use crate::system::{Clock, Completions, Ready, Source, System};
use crate::timers::Pace;
use crate::users::Users;
use hashbrown::HashMap;
use imfast_log::Completion;
use imfast_routes::{METRICS_MAX, RouteTable};
use imfast_session::Policy;
use imfast_wire::frames::limits::HTTP2_STREAMS;
use imfast_wire::http::Site;
use imfast_wire::rate::Bucket;
use imfast_wire::websocket::deflate::Inflater;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Period of the engine's timer.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// What a poll found for the caller to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent kinds of work, each with its bit"
)]
pub struct Work {
    /// Batches became durable, or failed.
    pub completions: bool,
    /// Partitions have commands and no batch in flight.
    pub batches: bool,
    /// Control verbs wait for a decision.
    pub requests: bool,
    /// Addresses of new connections wait for a verdict.
    pub arrivals: bool,
    /// Acts have their answers.
    pub acted: bool,
    /// Faults that were survived wait to be told.
    pub faults: bool,
}

/// See the module's text.
pub struct Engine {
    pub config: EngineConfig,
    pub(crate) system: System,
    pub(crate) io: Io,
    pub(crate) users: Users,
    pub(crate) peers: Peers,
    pub(crate) groups: Groups,
    pub(crate) collapse: Collapse,
    pub(crate) seats: Seats,
    pub(crate) presence: Presence,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) route_writer: imfast_routes::RouteWriter,
    pub(crate) links: Links,
    /// By partition; none for those of other workers.
    pub(crate) owned: Vec<Option<Box<Owned>>>,
    /// Per partition: all that concerns this worker up to here has arrived.
    pub(crate) watermarks: Vec<u64>,
    /// Counts the routes set; orders them against the pages of catch-ups.
    pub(crate) route_clock: u64,
    pub(crate) requests: VecDeque<Request>,
    /// Acts begun, their answers, and those that wait for several partitions.
    pub(crate) acts: u64,
    pub(crate) acted: Vec<Acted>,
    pub(crate) act_gathers: HashMap<u64, Gather>,
    pub(crate) policy: Policy,
    pub(crate) completions: Completions,
    pub(crate) completed: Vec<Completion>,
    /// A batch was committed in this tick.
    pub(crate) committed: bool,
    pub(crate) key_nonce: u64,
    pub(crate) keys_made: u64,
    pub(crate) checkpoint_due: Vec<u32>,
    /// Room to put a look-up key together.
    pub(crate) key_buffer: String,
    /// Connections whose window of unanswered sends opened again.
    pub(crate) resumable: Vec<Handle>,
    /// Connections whose `caughtUp` is owed.
    pub(crate) attaching: Vec<Handle>,
    /// Connections whose catch-up an owner could not serve.
    pub(crate) stalled: Vec<Handle>,
    pub(crate) strangers: VecDeque<Handle>,
    pub(crate) stranger_count: usize,
    pub(crate) expiries: Expiries,
    pub(crate) listeners: Vec<Option<Listener>>,
    /// Connections whose addresses are yet to be judged.
    pub(crate) arrivals: Vec<Arrival>,
    /// What TLS connections are accepted with; none: no TLS.
    pub(crate) tls: Option<imfast_tls::Credentials>,
    /// Handshakes worked on in this tick.
    pub(crate) handshakes: u32,
    /// Connections let in of late.
    pub(crate) admitted: Bucket,
    ready: Vec<Ready>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) burst: Burst,
    pub(crate) inflater: Inflater,
    clock: Clock,
    pub(crate) faults: Faults,
    /// How long batches took to become durable.
    pub(crate) commit_times: Histogram,
    /// What shared memory had of this worker before it began to count.
    pub(crate) counted_before: [u64; METRICS_MAX],
    /// The state that is being changed is one connection's alone: a panic costs no more than it.
    pub(crate) decoding: bool,
    /// Nobody is served any more but to the end of what was asked.
    pub(crate) draining: bool,
    /// Slots of those who are yet to be sent away then.
    pub(crate) leaving: Vec<u32>,
    pub(crate) ticks: u64,
    pub(crate) pace: Pace,
    /// Milliseconds since the engine's start, as of this poll.
    pub(crate) now_ms: u64,
    /// Milliseconds since 1970, as of this poll; for people only.
    pub(crate) wall_ms: u64,
}

impl Engine {
    /// # Errors
    /// What creating an epoll or its timers reports.
    pub fn new(
        config: EngineConfig,
        routes: Arc<RouteTable>,
        system: System,
    ) -> Result<Self, Errno> {
        let poller = system.poller(TICK, config.events_per_tick)?;
        let completions = system.completions(&poller)?;
        let key_nonce = system.nonce()?;
        let clock = system.clock();
        let frame_bytes = config.limits.frame_bytes as usize;
        let site = Site {
            wall_ms: clock.wall_ms(),
            origins: config.origins.clone(),
        };
        let policy = Policy {
            message_bytes_max: frame_bytes,
            http: imfast_wire::http::Limits {
                header_bytes: config.http_head_bytes,
                ..imfast_wire::http::Limits::default()
            },
            http2_streams: HTTP2_STREAMS.default as usize,
            site: site.clone(),
            compression: config.compression,
            forwarded: config.proxies_trusted(),
        };
        let limits = IoLimits {
            send_queue_bytes: config.send_queue_bytes,
            send_queue_frames: config.send_queue_frames,
            connections_max: config.connections_max,
        };
        let counted_before = routes.metrics(config.worker.into());
        let partitions = config.owners.len();
        let mut io = Io::new(poller, limits);
        io.writer.site = site;
        Ok(Self {
            io,
            users: Users::default(),
            peers: Peers::default(),
            groups: Groups::new(config.coalesce),
            collapse: Collapse::default(),
            seats: Seats::default(),
            presence: Presence::default(),
            route_writer: imfast_routes::RouteWriter::new(
                Arc::clone(&routes),
                config.worker.into(),
            ),
            routes,
            links: Links::new(&config),
            owned: (0..partitions).map(|_| None).collect(),
            watermarks: vec![0; partitions],
            route_clock: 0,
            requests: VecDeque::new(),
            acts: 0,
            acted: Vec::new(),
            act_gathers: HashMap::new(),
            policy,
            completions,
            completed: Vec::new(),
            committed: false,
            key_nonce,
            keys_made: 0,
            checkpoint_due: Vec::new(),
            key_buffer: String::new(),
            resumable: Vec::new(),
            attaching: Vec::new(),
            stalled: Vec::new(),
            strangers: VecDeque::new(),
            stranger_count: 0,
            expiries: Expiries::default(),
            listeners: Vec::new(),
            arrivals: Vec::new(),
            tls: None,
            handshakes: 0,
            admitted: Bucket::default(),
            ready: Vec::new(),
            buffer: vec![0; (256 * 1024).max(frame_bytes * 2 + 1024)],
            output: Vec::new(),
            burst: Burst::default(),
            inflater: Inflater::default(),
            faults: Faults::default(),
            commit_times: Histogram::default(),
            counted_before,
            decoding: false,
            draining: false,
            leaving: Vec::new(),
            ticks: 0,
            pace: Pace::default(),
            now_ms: 0,
            wall_ms: clock.wall_ms(),
            clock,
            system,
            config,
        })
    }

    /// The descriptor that an event loop watches for reading.
    pub fn raw_fd(&self) -> i32 {
        self.io.poller.raw_fd()
    }

    /// Takes all that is ready, without waiting.
    pub fn poll(&mut self) -> Result<Work, Errno> {
        self.now_ms = self.clock.now_ms();
        self.io.unit = self.unit();
        self.handshakes = 0;
        self.wall_ms = self.clock.wall_ms();
        self.policy.site.wall_ms = self.wall_ms;
        self.io.writer.site.wall_ms = self.wall_ms;
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.io.poller.poll(&mut ready)?;
        for event in &ready {
            match event.source {
                Source::Connection { slot, generation } => {
                    self.connection_ready(Handle { slot, generation }, *event);
                }
                Source::Listener { index } => self.accept(index),
                Source::LinkListener => self.accept_links(),
                Source::Link { slot, generation } => {
                    self.link_ready(
                        Handle { slot, generation },
                        event.readable || event.hang_up,
                        event.writable,
                    );
                }
                Source::Wake => {}
                Source::Timer => self.timer(),
            }
        }
        self.ready = ready;
        self.completions.drain(&mut self.completed);
        self.archive_progress();
        self.quicken();
        self.faults
            .set(Fault::SendQueueFull, self.io.stats.slow_consumers);
        Ok(self.work())
    }

    /// What there is to do now.
    pub fn work(&self) -> Work {
        Work {
            completions: !self.completed.is_empty(),
            batches: self.owned.iter().flatten().any(|owned| owned.wants_batch()),
            requests: !self.requests.is_empty(),
            arrivals: !self.arrivals.is_empty(),
            acted: !self.acted.is_empty(),
            faults: self.faults.waiting(self.now_ms),
        }
    }

    /// The next control verb to decide about.
    pub fn take_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Totals of the faults that were survived, by name.
    pub fn take_faults(&mut self) -> Vec<(&'static str, u64)> {
        self.faults.take(self.now_ms)
    }

    /// Ends a tick: fan-out, writes, and the slots of connections that went.
    pub fn flush(&mut self) {
        for handle in std::mem::take(&mut self.resumable) {
            self.resume(handle);
        }
        let slice = Slice {
            sockets: self.config.fan_out_slice_sockets,
            deadline: Instant::now() + Duration::from_micros(self.config.fan_out_slice_us),
            now_ms: self.now_ms,
            wall_ms: self.wall_ms,
            answers_first: std::mem::take(&mut self.committed),
        };
        let mut due = std::mem::take(&mut self.checkpoint_due);
        let held = self.groups.held_until_ms();
        let completions = &self.completions;
        let durable = || completions.waiting();
        let mut more = self.groups.run(&mut self.io, slice, &mut due, durable);
        self.checkpoint_due = due;
        self.wake_for_held_runs(held);
        self.io.flush_dirty();
        for slot in self.io.take_drained() {
            self.continue_catch_up(slot);
        }
        self.tell_receipts();
        self.flush_links();
        self.bury();
        self.io.flush_dirty();
        self.io.delivered(0);
        let work = self.work();
        more |= work.batches || work.requests || work.arrivals || work.acted;
        // A page that the socket took whole: no event tells that the next one may follow.
        more |= self.io.has_drained();
        if more {
            self.io.poller.arm();
        }
    }

    /// Sets the alarm for runs that wait for more. `before`: for when it was set.
    fn wake_for_held_runs(&self, before: Option<u64>) {
        if let Some(until_ms) = self.groups.held_until_ms()
            && before != Some(until_ms)
        {
            let wait = Duration::from_millis(until_ms.saturating_sub(self.now_ms).max(1));
            // If it cannot be set they wait for the next tick.
            let _ = self.io.poller.wake_in(wait);
        }
    }

    fn bury(&mut self) {
        loop {
            let dead = self.io.take_dead();
            if dead.is_empty() {
                break;
            }
            for slot in dead {
                crash::note(Event::ConnectionClosed, self.now_ms, u64::from(slot), 0);
                self.leave_all(slot);
                self.io.remove(slot);
            }
        }
    }

    /// Numbers that describe the worker now, and its counters.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        self.show_metrics();
        let mut fields = self.io.stats.fields().to_vec();
        fields.extend(self.faults.fields());
        fields.extend(self.named_gauges());
        fields.extend(stats::by_transport(&self.io.connections));
        fields
    }

    /// Index of the connection's user, if it has one.
    pub(crate) fn user_of(&self, slot: u32) -> Option<&crate::users::LocalUser> {
        let user = self.io.connections.get(slot)?.user;
        if user == NONE {
            None
        } else {
            self.users.get(user)
        }
    }
}
