//! In place of WebSockets, where a program is built without them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tsm_types::address::HostPort;

use super::Certificate;
use crate::pipe::trust::Roots;
use crate::pipe::{Arriving, Pipe};

const WHY: &str = "this program was built without WebSockets (feature `websocket`)";

pub(crate) enum WebListener {}

impl WebListener {
    pub(in crate::pipe) fn bind(_: SocketAddr, _: Option<&Certificate>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, WHY))
    }

    pub(in crate::pipe) fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }

    pub(in crate::pipe) async fn accept(&self) -> io::Result<Arriving> {
        match *self {}
    }
}

pub(crate) struct WebDialler;

impl WebDialler {
    pub(in crate::pipe) fn new(_: Roots) -> Self {
        WebDialler
    }

    pub(in crate::pipe) async fn dial(
        &self,
        _: bool,
        _: &HostPort,
        _: &str,
        _: Duration,
    ) -> Result<Pipe, String> {
        Err(WHY.to_owned())
    }
}
