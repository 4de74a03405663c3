//! One worker of imfast: epoll, connections, links, fan-out, and the partitions it owns, behind
//! one descriptor that an event loop watches. Knows nothing of Python.

mod accept;
mod act;
mod answers;
mod archiving;
mod arrivals;
mod attach;
mod burst;
mod carrying;
mod commands;
mod config;
mod connection;
pub mod crash;
mod cursors;
mod delivery;
mod dev_echo;
mod drain;
mod engine;
mod ephemeral;
mod expiries;
mod faults;
#[cfg(all(feature = "fuzzing", not(feature = "simulation")))]
pub mod fuzzing;
mod gateway;
mod groups;
mod histogram;
mod http;
mod input;
mod io;
mod layer;
mod links;
mod metrics;
#[cfg(all(feature = "micro", not(feature = "simulation")))]
pub mod micro;
mod notices;
mod origin;
mod outbox;
mod owner;
mod peers;
mod presence;
mod query;
mod rates;
mod recovery;
mod refusals;
mod requests;
mod reshard;
mod run;
mod sealing;
mod seats;
mod send_queue;
mod sessions;
#[cfg(feature = "simulation")]
mod simulation;
mod slab;
mod slow;
mod stats;
mod streams;
mod system;
mod timers;
mod users;
mod verbs;
mod wheel;

pub use accept::Speaks;
pub use act::{Act, Acted};
pub use arrivals::Network;
pub use attach::Identity;
pub use config::{Coalesce, EngineConfig, Rates};
pub use dev_echo::serve_echo;
pub use engine::{Engine, Work};
pub use imfast_log::AppendError;
pub use imfast_partition::archive::ArchivedKey;
pub use imfast_routes::RouteTable;
pub use imfast_tls::{
    Certificate, ClientCertificates, Credentials, CredentialsError, Settings as TlsSettings,
    TicketKey,
};
pub use imfast_warm::KeyBudget;
pub use imfast_warm::{copy as copy_archive, set_generation, verify as verify_archive};
pub use layer::TLS_PROTOCOLS;
pub use metrics::{NamedHistogram, Shown};
pub use outbox::OutboxPage;
pub use owner::{Finished, FoldFault, is_lost};
pub use recovery::{OpenError, OpenedPartition, Restored};
pub use requests::{ControlVerb, Request};
pub use reshard::{ReshardLayout, Resharded, reshard};
pub use seats::DevicePolicy;
pub use sessions::SessionInfo;
pub use slab::Handle;
#[cfg(feature = "simulation")]
pub use system::{LinkEnds, Port, World};
pub use system::{Socket, System};
#[cfg(feature = "simulation")]
pub use {imfast_faults as deliberate_faults, imfast_log::sim};
