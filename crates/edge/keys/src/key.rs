//! A key, and what it may sign for.

use std::fmt;

/// A key with which clients sign.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Sent with every request, like a user name.
    pub id: String,
    /// Never sent.
    pub secret: String,
    /// Whose it is: the name of its section in the file.
    pub name: String,
    /// Account of its owner, twelve digits; none for the server's own.
    pub account: Option<String>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({})", self.id)
    }
}

/// Where a server is, as requests to it are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Region of the credential scope.
    pub region: String,
    /// Account whose functions it serves.
    pub account: String,
}
