//! The archive: a ZIP file whose entries are stored as they are, so that each byte of it is a byte of a file or is compared with
//! another one. Archives that another tool packed again, with deflate or without, are read too.

use std::collections::BTreeMap;

use crate::{Wrong, ensure};

/// By name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of a dispute file, and the earlier checkpoints of as many years as one may keep one a month.
const ENTRIES_MAX: usize = 256;
/// As many events as a file can have come to some hundred MB.
pub const ARCHIVE_BYTES_MAX: usize = 1024 * 1024 * 1024;
const NAME_BYTES_MAX: usize = 64;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
/// What local and central header both say: from the version needed to the length of the name.
const SHARED_LEN: usize = 24;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Names in UTF-8, and how hard the packer tried; whatever else a flag says (encrypted, lengths behind the data) is refused.
const FLAGS_ALLOWED: u16 = 0x0806;
const VERSION: u16 = 20;
/// The first day that a ZIP file can name: no time of making is told.
const DATE: u16 = 0x0021;

/// CRC-32 as in ZIP files.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// Reads little-endian numbers one after another.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn cut_off() -> String {
    "the archive is no ZIP file, or it is cut off".to_owned()
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        let end = self.at.checked_add(length).ok_or_else(|| Wrong(cut_off()))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| Wrong(cut_off()))?;
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Wrong> {
        self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Wrong> {
        self.take(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn length(&mut self) -> Result<usize, Wrong> {
        self.u32().map(|length| length as usize)
    }
}

/// What the central directory says of an entry.
struct Entry<'a> {
    /// The part that the local header repeats.
    shared: &'a [u8],
    name: String,
    method: u16,
    crc: u32,
    packed_len: usize,
    len: usize,
    offset: usize,
    /// Who made it, and the attributes that a file system keeps: for all entries the same.
    maker: (u16, u16, u32),
}

fn central_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, Wrong> {
    ensure(cursor.u32()? == CENTRAL, cut_off)?;
    let made_by = cursor.u16()?;
    let shared = cursor.take(SHARED_LEN)?;
    let (extra_len, comment_len, disk, internal, external) = (cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u32()?);
    let offset = cursor.length()?;
    let mut fields = Cursor { bytes: shared, at: 2 };
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.take(4)?;
    let (crc, packed_len, len, name_len) = (fields.u32()?, fields.length()?, fields.length()?, fields.u16()?);
    ensure(usize::from(name_len) <= NAME_BYTES_MAX, || "a file's name in the archive is too long".to_owned())?;
    let name = cursor.take(usize::from(name_len))?;
    let name = str::from_utf8(name).map_err(|_| Wrong("a file's name in the archive is not UTF-8".to_owned()))?.to_owned();
    cursor.take(usize::from(extra_len))?;
    ensure(flags & !FLAGS_ALLOWED == 0, || format!("{name} is encrypted, or packed in a way that is not read here"))?;
    ensure(disk == 0 && comment_len == 0, || format!("{name} has a comment, or is on another disk"))?;
    Ok(Entry { shared, name, method, crc, packed_len, len, offset, maker: (made_by, internal, external) })
}

/// Unpacks one entry, which begins where the one before ended.
fn unpack(cursor: &mut Cursor<'_>, entry: &Entry<'_>, room: usize) -> Result<Vec<u8>, Wrong> {
    let name = &entry.name;
    let differs = || format!("the archive's two headers of {name} differ");
    ensure(cursor.at == entry.offset, || format!("{name} does not begin where the file before it ends"))?;
    ensure(cursor.u32()? == LOCAL, cut_off)?;
    ensure(cursor.take(SHARED_LEN)? == entry.shared, differs)?;
    let extra_len = cursor.u16()?;
    ensure(cursor.take(name.len())? == name.as_bytes(), differs)?;
    cursor.take(usize::from(extra_len))?;
    let packed = cursor.take(entry.packed_len)?;
    let too_long = || Wrong(format!("the archive's files are longer than {ARCHIVE_BYTES_MAX} bytes together"));
    if entry.len > room {
        return Err(too_long());
    }
    let bytes = match entry.method {
        STORED => packed.to_vec(),
        DEFLATED => miniz_oxide::inflate::decompress_to_vec_with_limit(packed, entry.len).map_err(|_| Wrong(format!("{name} can't be unpacked")))?,
        _ => return Err(Wrong(format!("{name} is packed in a way that is not read here"))),
    };
    ensure(bytes.len() == entry.len && crc32(&bytes) == entry.crc, || format!("{name} is not what the archive's checksum says"))?;
    Ok(bytes)
}

/// Reads all files of an archive.
///
/// # Errors
/// When it is no ZIP file, or has anything that a dispute file has not: bytes that belong to no file, a name twice, encrypted files.
pub fn read(archive: &[u8]) -> Result<Files, Wrong> {
    ensure(archive.len() <= ARCHIVE_BYTES_MAX, || format!("the archive is longer than {ARCHIVE_BYTES_MAX} bytes"))?;
    let end = archive.len().checked_sub(END_LEN).ok_or_else(|| Wrong(cut_off()))?;
    let mut cursor = Cursor { bytes: archive, at: end };
    ensure(cursor.u32()? == END, || "the archive is no ZIP file, is cut off, or has something behind its end".to_owned())?;
    let (disk, first_disk, here, count) = (cursor.u16()?, cursor.u16()?, cursor.u16()?, usize::from(cursor.u16()?));
    let (directory_len, directory, comment_len) = (cursor.length()?, cursor.length()?, cursor.u16()?);
    ensure(disk == 0 && first_disk == 0 && usize::from(here) == count && comment_len == 0, || {
        "the archive has a comment or several parts".to_owned()
    })?;
    ensure(count <= ENTRIES_MAX, || format!("the archive has more than {ENTRIES_MAX} files"))?;
    ensure(directory.checked_add(directory_len) == Some(end), || "the archive's directory is not where its end says".to_owned())?;

    let mut cursor = Cursor { bytes: &archive[..end], at: directory };
    let entries = (0..count).map(|_| central_entry(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    ensure(cursor.at == end, || "the archive's directory has bytes that belong to no file".to_owned())?;

    let mut cursor = Cursor { bytes: &archive[..directory], at: 0 };
    let (mut files, mut room) = (Files::new(), ARCHIVE_BYTES_MAX);
    for entry in &entries {
        ensure(entry.maker == entries[0].maker, || format!("{} has other attributes than the archive's other files", entry.name))?;
        let bytes = unpack(&mut cursor, entry, room)?;
        room -= bytes.len();
        ensure(files.insert(entry.name.clone(), bytes).is_none(), || format!("the archive has {} twice", entry.name))?;
    }
    ensure(cursor.at == directory, || "the archive has bytes that belong to no file".to_owned())?;
    Ok(files)
}

/// Writes an archive: the same files make the same bytes.
///
/// # Errors
/// When the files are more or longer than an archive may be.
pub fn write(files: &Files) -> Result<Vec<u8>, Wrong> {
    let too_long = |_| Wrong("the dispute file gets too long for a ZIP file".to_owned());
    ensure(files.len() <= ENTRIES_MAX, || format!("a dispute file has at most {ENTRIES_MAX} files"))?;
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let (offset, length) = (u32::try_from(out.len()).map_err(too_long)?, u32::try_from(bytes.len()).map_err(too_long)?);
        let mut shared = Vec::with_capacity(SHARED_LEN);
        for number in [VERSION, 0, STORED, 0, DATE] {
            shared.extend(number.to_le_bytes());
        }
        for number in [crc32(bytes), length, length] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend(u16::try_from(name.len()).map_err(too_long)?.to_le_bytes());

        out.extend(LOCAL.to_le_bytes());
        out.extend(&shared);
        // No extra field.
        out.extend([0; 2]);
        out.extend(name.as_bytes());
        out.extend(bytes);

        directory.extend(CENTRAL.to_le_bytes());
        directory.extend(VERSION.to_le_bytes());
        directory.extend(&shared);
        // Neither extra field nor comment, first disk, no attributes.
        directory.extend([0; 12]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, offset) = (u16::try_from(files.len()).unwrap_or(u16::MAX), u32::try_from(out.len()).map_err(too_long)?);
    let directory_len = u32::try_from(directory.len()).map_err(too_long)?;
    out.extend(directory);
    out.extend(END.to_le_bytes());
    out.extend([0; 4]);
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([directory_len.to_le_bytes(), offset.to_le_bytes()].concat());
    out.extend([0; 2]);
    ensure(out.len() <= ARCHIVE_BYTES_MAX, || "the dispute file gets too long".to_owned())?;
    Ok(out)
}

const _: () = assert!(LOCAL_LEN == 4 + SHARED_LEN + 2 && CENTRAL_LEN == 4 + 2 + SHARED_LEN + 12 + 4);

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        [("a.txt", "one"), ("b/2", ""), ("c.json", "{}\n")].map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let archive = write(&files()).unwrap();
        assert_eq!(read(&archive).unwrap(), files());
        assert_eq!(write(&read(&archive).unwrap()).unwrap(), archive);
    }

    #[test]
    fn every_altered_missing_or_added_byte_of_an_archive_is_noticed() {
        let archive = write(&files()).unwrap();
        for at in 0..archive.len() {
            for bit in 0..8 {
                let mut altered = archive.clone();
                altered[at] ^= 1 << bit;
                // A changed name is another file, which the names that a dispute file has tell.
                assert!(read(&altered).ok() != Some(files()), "byte {at}, bit {bit}");
            }
            assert!(read(&[&archive[..at], &archive[at + 1..]].concat()).is_err(), "without byte {at}");
            assert!(read(&[&archive[..at], b"P", &archive[at..]].concat()).is_err(), "one more at {at}");
            assert!(read(&archive[..at]).is_err());
        }
        assert!(read(&[archive.as_slice(), b"\0"].concat()).is_err());
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let packed = miniz_oxide::deflate::compress_to_vec(&vec![0; 1_000_000], 9);
        let mut archive = write(&[("a".to_owned(), packed.clone())].into()).unwrap();
        let central = archive.len() - END_LEN - CENTRAL_LEN - 1;
        for (at, len) in [(LOCAL_LEN - 8, 1000_u32), (central + CENTRAL_LEN - 22, 1000)] {
            archive[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        for at in [8, central + 10] {
            archive[at] = 8;
        }
        assert_eq!(read(&archive), Err(Wrong("a can't be unpacked".to_owned())));
        for at in [LOCAL_LEN - 8, central + CENTRAL_LEN - 22] {
            archive[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        }
        assert!(read(&archive).unwrap_err().0.contains("longer than"));
    }
}
