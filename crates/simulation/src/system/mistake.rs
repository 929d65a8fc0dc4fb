//! Mistakes that the system could make, planted where its machines meet the world.

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake in the protocol. Somebody else has made most of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mistake {
            $($(#[$doc])* $name,)*
        }

        impl Mistake {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];
        }
    };
}

mistakes! {
    /// Nothing is written down before a request.
    NoIntent,
    /// The intent is written when the answer is there.
    IntentAfterSend,
    /// The intent could not be written, and the request is sent all the same.
    IntentFailureIgnored,
    /// Another holder was faster, and the request is sent all the same.
    IntentSupersededIgnored,
    /// A replay is sent without an intent of its own.
    ReplayWithoutIntent,
    /// An attempt does not raise the count.
    AttemptNotCounted,
    /// No answer goes to the escrow.
    NoEscrow,
    /// The answer is read, then kept.
    EscrowAfterRead,
    /// The answer is told, then kept.
    EscrowAfterPublish,
    /// Callers get the token as soon as it is there.
    PublishBeforeEscrow,
    /// An append counts before it is durable.
    EscrowNotFlushed,
    /// A full disk is noticed with the answer.
    NoRoomIgnored,
    /// What the escrow has is not looked at.
    EscrowIgnoredAtRecovery,
    /// The escrow's record of another grant is taken.
    EscrowOfAnotherGrant,
    /// No lease is taken.
    NoLease,
    /// The lease is shorter than a request.
    LeaseShorterThanRequest,
    /// The lease ends by the wall clock of who asks.
    LeaseByWallClock,
    /// Whoever asks for a lease gets it.
    LiveHolderSucceeded,
    /// A lease that has run out is never given to another.
    DeadHolderNeverSucceeded,
    /// All renewals of a process are one holder.
    OneHolderForAll,
    /// A lease is given back whoever has it.
    ReleaseWithoutFence,
    /// Writes are not fenced.
    NoFenceCheck,
    /// A recovered answer is written without a lease.
    RecoveredWithoutLease,
    /// It is not looked whether it is too late to send.
    TooLateIgnored,
    /// Whoever is refused marks whatever is in the row.
    LoserMarksTheRow,
    /// A refused refresh token is sent again.
    RefusedTokenSent,
    /// `invalid_client` marks the refresh token.
    InvalidClientMarks,
    /// A lost answer counts as a refusal.
    LostAnswerIsRefusal,
    /// A lost answer counts as a request that was not sent.
    TimeoutIsUnsent,
    /// 5xx counts as not processed.
    ServerErrorIsUnsent,
    /// A connection that was reset is tried again at once.
    ResetRetriedAtOnce,
    /// A process that starts forgets the doubt.
    DoubtForgottenAtStart,
    /// A doubt ends after a minute.
    DoubtEndsByTime,
    /// Another failure ends a doubt.
    DoubtClearedByFailure,
    /// A doubt begins when the failure is told.
    DoubtCountsFromFailure,
    /// The server's window is taken for longer than it is.
    ReplayOutsideWindow,
    /// A server that takes a token once is taken for one with a window.
    StrictTakenForWindowed,
    /// What would be lost is not looked at.
    UsableTokenIgnored,
    /// An answer without a refresh token takes away the one at hand.
    OmittedRefreshTokenOverwrites,
    /// The refresh token of an answer that fails is dropped.
    RefreshTokenOfFailureDropped,
    /// A new token does not raise the generation.
    GenerationNotRaised,
    /// A token is taken for longer-lived than it is.
    LifetimeStretched,
    /// A restored store is not noticed.
    RestoreNotNoticed,
    /// An older row is trusted.
    OlderRowTrusted,
    /// A failure that was met with another secret is shared.
    ForeignFailureShared,
    /// `Retry-After` is not read.
    RetryAfterIgnored,
    /// A published token is given to callers after its end.
    ExpiredServed,
    /// A withdrawn token is given to callers.
    WithdrawnServed,
    /// A life counts from when the answer came.
    LifeFromReceipt,
    /// Stored expiries are read by the wall clock alone.
    ExpiryByWallClock,
    /// A renewal whose task panics is never told of.
    PanicHoldsFlight,
    /// A failure is not told to who waits.
    WaitersDropped,
    /// A timer is lost.
    TimerLost,
    /// One flight for each scope instead of each grant.
    FlightPerScope,
    /// Who must authorise again is probed for.
    TerminalProbed,
}
