//! The table: what an API takes, said once. Validation, the published schema, masks, merging,
//! replays and samples all come from it.

/// The items of a list, at most, unless an API has a smaller bound. No vendor's list of ids comes
/// near it.
const MAX_ITEMS: usize = 1_000_000;

/// One field of `data.changes`, or a member of one.
#[derive(Debug)]
pub struct Field {
    /// Its name, at the API and in events. Needs no escapes in JSON.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its description, in a sentence.
    pub help: &'static str,
    /// A value that it may have, as JSON.
    pub sample: &'static str,
    /// Its value is never shown.
    pub secret: bool,
    /// `null` removes it.
    pub removable: bool,
    /// The fate of its previous value.
    pub replaced: Replaced,
    /// Which value takes something away from its user, beside `null`.
    pub takes_away: TakesAway,
}

/// The type of a field's value.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    Text,
    /// An integer of 64 bits.
    Integer,
    /// True or false.
    Boolean,
    /// An array.
    List {
        /// The type of each item.
        of: &'static Kind,
        /// The items at most.
        max: usize,
    },
    /// An object with at least one of these members, and no other.
    Object(&'static [Field]),
}

/// The effect of a new value on the previous one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It takes its place.
    Whole,
    /// The same, but the API remembers the values before, so none may be left out.
    Remembered,
    /// Its members take the place of those of the same name; the others stay.
    Members,
    /// Nobody says whether members that are not named stay or go.
    Unknown,
}

/// Which value takes something away from its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesAway {
    /// None.
    Nothing,
    /// An empty list.
    Empty,
    /// `false`.
    False,
}

impl Field {
    /// A field that is replaced as a whole, no secret, and there for good.
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        help: &'static str,
        sample: &'static str,
    ) -> Self {
        Field {
            name,
            kind,
            help,
            sample,
            secret: false,
            removable: false,
            replaced: Replaced::Whole,
            takes_away: TakesAway::Nothing,
        }
    }

    /// One of which such a value takes something away.
    pub(super) const fn takes_away(self, takes_away: TakesAway) -> Self {
        Field { takes_away, ..self }
    }

    /// A secret one.
    pub(super) const fn secret(self) -> Self {
        Field {
            secret: true,
            ..self
        }
    }

    /// One that `null` removes.
    pub(super) const fn removable(self) -> Self {
        Field {
            removable: true,
            ..self
        }
    }

    /// One whose values are replaced so.
    pub(super) const fn replaced(self, replaced: Replaced) -> Self {
        Field { replaced, ..self }
    }

    /// Its members, if it holds an object or a list of them.
    pub fn members(&self) -> &'static [Field] {
        self.kind.members()
    }

    /// The field of that name.
    pub(super) fn find(fields: &'static [Field], name: &str) -> Option<&'static Field> {
        fields.iter().find(|field| field.name == name)
    }
}

impl Kind {
    /// A list of integers.
    pub(super) const INTEGERS: Kind = Kind::List {
        of: &Kind::Integer,
        max: MAX_ITEMS,
    };

    fn members(&self) -> &'static [Field] {
        match self {
            Kind::Object(fields) => fields,
            Kind::List { of, .. } => of.members(),
            Kind::Text | Kind::Integer | Kind::Boolean => &[],
        }
    }

    /// With its article.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Integer => "an integer of 64 bits",
            Kind::Boolean => "true or false",
            Kind::List { of, .. } => match of {
                Kind::Text => "an array of strings",
                Kind::Integer => "an array of integers",
                Kind::Boolean => "an array of booleans",
                Kind::List { .. } => "an array of arrays",
                Kind::Object(_) => "an array of objects",
            },
            Kind::Object(_) => "an object",
        }
    }
}
