//! The command line.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{scenario, transport};

/// `--help`.
pub(crate) fn help() -> String {
    let rows = |table: &[(&'static str, &str)]| {
        let row = |(name, about): &(&str, &str)| format!("  {name:15} {about}\n");
        table.iter().map(row).collect::<String>()
    };
    format!(
        "imfast-bench SCENARIO --port PORT --tokens FILE [options]\n\n{}\n{OPTIONS}\n\ntransports\n{}",
        rows(scenario::ABOUT),
        rows(transport::ABOUT),
    )
}

const OPTIONS: &str = "\
  --host ADDRESS          IPv4 address of the server [127.0.0.1]
  --port PORT             of the transport
  --transport NAME        see below [ws-json]
  --tokens FILE           a line `user token` for each connection
  --connections N         publishers of a fan-out are further lines [all lines]
  --processes N           of the generator, which share the connections [1]
  --seconds S             measured time [5]
  --warmup S              time before it [1]
  --window W              closed loop: messages under way, of each sender [16]
  --rate R                open loop instead: messages a second, of all senders together
  --write each|batch      a write for each message, or for all that may go at once [each]
  --body-bytes B          text of that many bytes [128]
  --ephemeral             messages neither stored nor numbered
  --no-keys               no idempotency keys
  --publishers P          fanout: connections that send [1]
  --members M             group, mixed: members of a group [10]
  --groups G              verify: groups [a tenth of the connections]
  --drain S               verify, storm: time for everything to arrive in the end [30]
  --bystanders B          storm: connections that stay, and send to each other [10]
  --away S                storm: between the end of the others and their return [1]
  --by-server             storm: wait for the server to end them instead
  --mix KIND=SHARE,..     mixed: direct, group, ephemeral, history, read, reconnect
  --stalled K             slow-consumers: subscribers that stop reading [10]
  --receive-buffer B      slow-consumers: bytes that the kernel holds for each of them [65536]
  --server NAME           reconnect until `connected` names this worker
  --server-pids P,P       processes whose CPU time and memory are measured
  --concurrency C         connections being opened at once [128]
  --sources N             127.0.0.1 to 127.0.0.N as client addresses [one for 20,000 connections]
  --progress              a line each second
  --wait                  before the run, wait for a line on standard input
  --burn-us U             waste that much time for each message: a slow generator, for tests";

/// Connections from one source address; the kernel has about 28,000 ports for each.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// The options of [`HELP`].
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Options {
    /// A name of [`scenario::ABOUT`].
    pub scenario: &'static str,
    /// A name of [`transport::ABOUT`].
    pub transport: &'static str,
    pub host: Ipv4Addr,
    pub port: u16,
    pub tokens: PathBuf,
    pub connections: Option<usize>,
    pub measured: Duration,
    pub warmup: Duration,
    pub window: u64,
    pub processes: usize,
    /// Which of the processes this is; none: the one that was started by hand.
    pub share: Option<usize>,
    /// Of the [`crate::board::Board`] that they share.
    pub board: Option<PathBuf>,
    /// Messages a second; none: closed loop.
    pub rate: Option<f64>,
    pub batch: bool,
    pub body_bytes: usize,
    pub ephemeral: bool,
    pub keys: bool,
    pub publishers: usize,
    pub members: usize,
    /// None: a tenth of the connections.
    pub groups: Option<usize>,
    pub drain: Duration,
    pub bystanders: usize,
    pub away: Duration,
    pub by_server: bool,
    pub mix: String,
    pub stalled: usize,
    pub receive_buffer: usize,
    pub server: Option<String>,
    pub server_pids: Vec<u32>,
    pub concurrency: usize,
    sources: Option<usize>,
    pub progress: bool,
    pub wait: bool,
    pub burn: Duration,
}

impl Options {
    fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            transport: "ws-json",
            host: Ipv4Addr::LOCALHOST,
            port: 0,
            tokens: PathBuf::new(),
            connections: None,
            measured: Duration::from_secs(5),
            warmup: Duration::from_secs(1),
            window: 16,
            processes: 1,
            share: None,
            board: None,
            rate: None,
            batch: false,
            body_bytes: 128,
            ephemeral: false,
            keys: true,
            publishers: 1,
            members: 10,
            groups: None,
            drain: Duration::from_secs(30),
            bystanders: 10,
            away: Duration::from_secs(1),
            by_server: false,
            mix: "direct=70,group=20,ephemeral=8,reconnect=2".into(),
            stalled: 10,
            // Half of what the kernel doubles it to holds a segment of loopback: with less, what was
            // sent to a stalled one cannot be read in any sensible time.
            receive_buffer: 65_536,
            server: None,
            server_pids: Vec::new(),
            concurrency: 128,
            sources: None,
            progress: false,
            wait: false,
            burn: Duration::ZERO,
        }
    }

    /// The defaults of a run of that scenario.
    #[cfg(test)]
    pub(crate) fn for_tests(scenario: &'static str) -> Self {
        Self::new(scenario)
    }

    /// What was asked, as the result repeats it.
    pub(crate) fn fields(&self) -> Value {
        json!({
            "connections": self.connections,
            "processes": self.processes,
            "seconds": self.measured.as_secs_f64(),
            "warmup": self.warmup.as_secs_f64(),
            "window": self.rate.is_none().then_some(self.window),
            "rate": self.rate,
            "write": if self.batch { "batch" } else { "each" },
            "body_bytes": self.body_bytes,
            "ephemeral": self.ephemeral,
            "keys": self.keys,
            "publishers": self.publishers,
            "members": self.members,
            "mix": self.mix,
            "stalled": self.stalled,
            "receive_buffer": self.receive_buffer,
        })
    }

    /// How many client addresses `connections` come from; 1 means: the kernel chooses.
    pub(crate) fn sources(&self, connections: usize) -> usize {
        self.sources
            .unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_SOURCE))
            .clamp(1, 254)
    }
}

/// Reads the arguments; none when they ask for [`help`].
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut parser = Parser::from_args(arguments);
    let mut options = match parser.next()? {
        Some(Arg::Value(name)) => {
            Options::new(of(scenario::ABOUT, "scenario", &name.to_string_lossy())?)
        }
        None | Some(Arg::Long("help") | Arg::Short('h')) => return Ok(None),
        Some(other) => return Err(other.unexpected().into()),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("host") => options.host = parser.value()?.parse()?,
            Arg::Long("port") => options.port = parser.value()?.parse()?,
            Arg::Long("tokens") => options.tokens = parser.value()?.into(),
            Arg::Long("connections") => options.connections = Some(parser.value()?.parse()?),
            Arg::Long("seconds") => options.measured = seconds(&mut parser)?,
            Arg::Long("warmup") => options.warmup = seconds(&mut parser)?,
            Arg::Long("window") => options.window = parser.value()?.parse()?,
            Arg::Long("rate") => options.rate = Some(parser.value()?.parse()?),
            Arg::Long("body-bytes") => options.body_bytes = parser.value()?.parse()?,
            Arg::Long("ephemeral") => options.ephemeral = true,
            Arg::Long("no-keys") => options.keys = false,
            Arg::Long("server") => options.server = Some(parser.value()?.string()?),
            Arg::Long("server-pids") => options.server_pids = numbers(&parser.value()?.string()?)?,
            Arg::Long("concurrency") => options.concurrency = parser.value()?.parse()?,
            Arg::Long("sources") => options.sources = Some(parser.value()?.parse()?),
            Arg::Long("wait") => options.wait = true,
            Arg::Long("burn-us") => options.burn = Duration::from_micros(parser.value()?.parse()?),
            Arg::Long("write") => {
                options.batch = match parser.value()?.string()?.as_str() {
                    "each" => false,
                    "batch" => true,
                    other => return Err(Failure::Said(format!("--write {other}: each or batch"))),
                }
            }
            Arg::Long("transport") => {
                let name = parser.value()?.string()?;
                options.transport = of(transport::ABOUT, "transport", &name)?;
            }
            Arg::Long("processes") => options.processes = parser.value()?.parse()?,
            // Told to the processes that another one starts.
            Arg::Long("share") => options.share = Some(parser.value()?.parse()?),
            Arg::Long("board") => options.board = Some(parser.value()?.into()),
            Arg::Long("publishers") => options.publishers = parser.value()?.parse()?,
            Arg::Long("members") => options.members = parser.value()?.parse()?,
            Arg::Long("groups") => options.groups = Some(parser.value()?.parse()?),
            Arg::Long("drain") => options.drain = seconds(&mut parser)?,
            Arg::Long("bystanders") => options.bystanders = parser.value()?.parse()?,
            Arg::Long("away") => options.away = seconds(&mut parser)?,
            Arg::Long("by-server") => options.by_server = true,
            Arg::Long("mix") => options.mix = parser.value()?.string()?,
            Arg::Long("stalled") => options.stalled = parser.value()?.parse()?,
            Arg::Long("receive-buffer") => options.receive_buffer = parser.value()?.parse()?,
            Arg::Long("progress") => options.progress = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    check(&options)?;
    Ok(Some(options))
}

fn check(options: &Options) -> Result<(), Failure> {
    let wrong = if options.port == 0 {
        "--port is missing"
    } else if options.tokens.as_os_str().is_empty() && transport::needs_tokens(options.transport) {
        "--tokens is missing"
    } else if options.window == 0 || options.concurrency == 0 || options.publishers == 0 {
        "--window, --concurrency and --publishers are at least 1"
    } else if options.processes == 0 || options.share.is_some_and(|one| one >= options.processes) {
        "--processes is at least 1"
    } else if options.members < 2 {
        "--members is at least 2"
    } else if options
        .rate
        .is_some_and(|rate| rate.is_nan() || rate <= 0.0)
    {
        "--rate is above 0"
    } else {
        return Ok(());
    };
    Err(Failure::Said(wrong.into()))
}

/// The table's own text of `name`.
fn of(table: &[(&'static str, &str)], kind: &str, name: &str) -> Result<&'static str, Failure> {
    let found = table.iter().find(|(one, _)| *one == name);
    found
        .map(|(one, _)| *one)
        .ok_or_else(|| Failure::Said(format!("no {kind} {name}")))
}

fn seconds(parser: &mut Parser) -> Result<Duration, Failure> {
    let value: f64 = parser.value()?.parse()?;
    Duration::try_from_secs_f64(value)
        .map_err(|error| Failure::Said(format!("{value} seconds: {error}")))
}

fn numbers(text: &str) -> Result<Vec<u32>, Failure> {
    text.split(',')
        .map(|one| {
            one.parse()
                .map_err(|_| Failure::Said(format!("{one} is no process id")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Options, Failure> {
        let arguments = arguments.split_whitespace().map(std::ffi::OsString::from);
        parse(arguments.collect()).map(|options| options.expect("no --help"))
    }

    #[test]
    fn options_say_what_was_given_and_keep_their_defaults() {
        let options = parsed("direct --port 9 --tokens t --rate 5000 --server-pids 7,8")
            .expect("valid arguments");
        assert_eq!(options.scenario, "direct");
        assert_eq!(options.rate, Some(5000.0));
        assert_eq!(options.server_pids, [7, 8]);
        assert_eq!(options.body_bytes, 128);
        assert!(options.keys && !options.batch);
    }

    #[test]
    fn more_connections_than_one_address_has_ports_come_from_several() {
        let options = parsed("idle --port 9 --tokens t").expect("valid arguments");
        assert_eq!(options.sources(20_000), 1);
        assert_eq!(options.sources(20_001), 2);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, named) in [
            ("dance --port 1", "dance"),
            ("idle --tokens t", "--port"),
            ("idle --port 1 --tokens t --rate 0", "--rate"),
            ("idle --port 1 --tokens t --write some", "some"),
            ("idle --port 1 --tokens t --server-pids 1,x", "x"),
        ] {
            let message = parsed(arguments).expect_err(arguments).to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
