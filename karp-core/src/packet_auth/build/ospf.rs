//! Hello packets of OSPFv2 and OSPFv3.

use super::{Error, Writer};

/// An OSPFv2 Hello (RFC 2328 section A.3.2). Addresses and router ids are numbers: 192.0.2.1 is 0xc0000201.
#[derive(Clone, Copy, Debug)]
pub struct Ospfv2Hello<'a> {
    /// The sender's router id.
    pub router_id: u32,
    /// The area; 0 is the backbone.
    pub area_id: u32,
    /// The mask of the link's network.
    pub mask: u32,
    /// Seconds between Hellos.
    pub hello_interval: u16,
    /// The options; 0x02 (E) in an ordinary area.
    pub options: u8,
    /// The sender's priority in the election of the designated router.
    pub priority: u8,
    /// Seconds of silence after which a neighbour is taken for dead.
    pub dead_interval: u32,
    /// The interface address of the designated router, or 0.
    pub designated: u32,
    /// The interface address of the backup, or 0.
    pub backup: u32,
    /// The router ids from which Hellos were seen.
    pub neighbors: &'a [u32],
}

impl Ospfv2Hello<'_> {
    /// Backbone, 255.255.255.0, 10 and 40 seconds, priority 1, nobody seen, router id 0 (which no router has).
    pub const DEFAULT: Self = Self {
        router_id: 0,
        area_id: 0,
        mask: 0xffff_ff00,
        hello_interval: 10,
        options: 0x02,
        priority: 1,
        dead_interval: 40,
        designated: 0,
        backup: 0,
        neighbors: &[],
    };

    /// Writes the packet, 44 octets and 4 for each neighbour, and returns its length in octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer or than 65535 octets.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut w = Writer::new(buf);
        w.octets(&[2, 1, 0, 0])
            .u32(self.router_id)
            .u32(self.area_id)
            .octets(&[0; 12]);
        w.u32(self.mask)
            .u16(self.hello_interval)
            .u8(self.options)
            .u8(self.priority);
        w.u32(self.dead_interval).u32(self.designated).u32(self.backup);
        for neighbor in self.neighbors {
            w.u32(*neighbor);
        }
        w.finish(2)
    }
}

/// An OSPFv3 Hello (RFC 5340 section A.3.2). Router ids are numbers: 192.0.2.1 is 0xc0000201.
#[derive(Clone, Copy, Debug)]
pub struct Ospfv3Hello<'a> {
    /// The sender's router id.
    pub router_id: u32,
    /// The area; 0 is the backbone.
    pub area_id: u32,
    /// The instance on the link.
    pub instance_id: u8,
    /// The sender's number for the interface.
    pub interface_id: u32,
    /// The sender's priority in the election of the designated router.
    pub priority: u8,
    /// The options, 24 bits (the upper 8 are dropped); 0x13 (R, E, V6) in an ordinary area. Signing sets the AT bit.
    pub options: u32,
    /// Seconds between Hellos.
    pub hello_interval: u16,
    /// Seconds of silence after which a neighbour is taken for dead.
    pub dead_interval: u16,
    /// The router id of the designated router, or 0.
    pub designated: u32,
    /// The router id of the backup, or 0.
    pub backup: u32,
    /// The router ids from which Hellos were seen.
    pub neighbors: &'a [u32],
}

impl Ospfv3Hello<'_> {
    /// Backbone, interface 1, 10 and 40 seconds, priority 1, nobody seen, router id 0 (which no router has).
    pub const DEFAULT: Self = Self {
        router_id: 0,
        area_id: 0,
        instance_id: 0,
        interface_id: 1,
        priority: 1,
        options: 0x13,
        hello_interval: 10,
        dead_interval: 40,
        designated: 0,
        backup: 0,
        neighbors: &[],
    };

    /// Writes the packet, 36 octets and 4 for each neighbour, and returns its length in octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] if it is longer than the buffer or than 65535 octets.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let [_, a, b, c] = self.options.to_be_bytes();
        let mut w = Writer::new(buf);
        w.octets(&[3, 1, 0, 0])
            .u32(self.router_id)
            .u32(self.area_id)
            .u16(0)
            .u8(self.instance_id)
            .u8(0);
        w.u32(self.interface_id).octets(&[self.priority, a, b, c]);
        w.u16(self.hello_interval)
            .u16(self.dead_interval)
            .u32(self.designated)
            .u32(self.backup);
        for neighbor in self.neighbors {
            w.u32(*neighbor);
        }
        w.finish(2)
    }
}
