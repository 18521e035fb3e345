---------------------------- MODULE VcpuHotplug ----------------------------
(* arm64 vCPU hotplug, written by hand for people who do not read Python.      *)
(*                                                                             *)
(* What QEMU's research series asks of a VMM, against a guest that may make    *)
(* any call at any time, an accelerator of which Faults effects may fail, and  *)
(* resets and migration at any moment. The guest may power the machine off,    *)
(* and the user start it anew. One vCPU, number 0, is cold-booted; Plugged     *)
(* more were plugged before the boot.                                          *)
(*                                                                             *)
(* An action is one stimulus and all that is decided because of it. An effect  *)
(* is begun by one action (the slot's `step` names it) and ends by another.    *)
(* What ends the machine for good is left out: after it nothing happens.       *)
(* With V6 it is the series' v6 in place of hpcore's own protocol: a vCPU is   *)
(* realized once, and an unplug leaves it whole.                               *)
(* States are those of `hpcore check` with the same options, one for one;      *)
(* specs/README.md says how that is tested, and maps the names.                *)
EXTENDS Naturals, FiniteSets

CONSTANTS N,        \* possible vCPUs, numbered from 0
          Faults,   \* effects that may fail
          Plugged,  \* vCPUs that were plugged before the boot
          Saves,    \* whether the machine may be saved and restored
          V6,       \* whether this is the series' v6
          Bug       \* what was reported against v6: "sve_finalized_twice", "lost_at_reset"; or "none"

VARIABLES slot,     \* a record for each vCPU, see TypeOK
          phase,    \* "ready", "running", "resetting" or "off"
          paused,   \* it stands still, since it went off, or was restored
          mstep,    \* the effect on the machine that is under way, or "none"
          migrating, \* or being saved
          ged, scanning,
          faults    \* how many more effects may fail

vars == <<slot, phase, paused, mstep, migrating, ged, scanning, faults>>
Slots == 0 .. N - 1
Cold(i) == i = 0

Lives == {"parked", "realized", "enabled", "online", "ejecting"}
Giccs == {"unbound", "bound", "wired", "shut"}   \* v6's "shut": wired, and not to be reached
Commands == {"none", "plug", "unplug", "revoke"}
Build == {"realize", "bind", "wire", "enable", "notify_insert"}
Teardown == {"disable", "power_off", "unwire", "unbind", "stop", "release", "park"}
StepsOfV6 == {"wake", "open", "shut", "halt"}
Steps == {"none", "notify_remove"} \cup Build \cup Teardown \cup StepsOfV6

TypeOK ==
  /\ slot \in [Slots -> [life: Lives, gicc: Giccs, cmd: Commands, step: Steps,
                         named: BOOLEAN,      \* it has a device id
                         thread: BOOLEAN, space: BOOLEAN,
                         enabled: BOOLEAN,    \* what _STA says
                         powered: BOOLEAN,    \* the accelerator's own word
                         insert: BOOLEAN, remove: BOOLEAN,   \* event bits
                         requested: BOOLEAN,  \* the guest may eject
                         unconfirmed: BOOLEAN, \* it has, and not said how that went
                         stalled: BOOLEAN]]   \* an effect of the teardown failed
  /\ phase \in {"ready", "running", "resetting", "off"}
  /\ mstep \in {"none", "start", "reset", "restart", "resume", "migrate", "save"}
  /\ paused \in BOOLEAN /\ migrating \in BOOLEAN /\ ged \in BOOLEAN /\ scanning \in BOOLEAN
  /\ faults \in 0 .. Faults

Parked == [life |-> "parked", gicc |-> "unbound", cmd |-> "none", step |-> "none",
           named |-> FALSE, thread |-> FALSE, space |-> FALSE, enabled |-> FALSE,
           powered |-> FALSE, insert |-> FALSE, remove |-> FALSE, requested |-> FALSE,
           unconfirmed |-> FALSE, stalled |-> FALSE]
Boot == [Parked EXCEPT !.life = "online", !.gicc = "wired", !.named = TRUE,
         !.thread = TRUE, !.space = TRUE, !.enabled = TRUE, !.powered = TRUE]

\* Built with the cold-booted ones, without a device check; its plug ends with the start.
Before == [Boot EXCEPT !.life = "enabled", !.powered = FALSE, !.cmd = "plug"]

\* All possible vCPUs exist, the GIC is sized for them; vCPU 0 is about to enter the kernel.
Init ==
  /\ slot = [i \in Slots |-> IF Cold(i) THEN Boot ELSE IF i <= Plugged THEN Before ELSE Parked]
  /\ phase = "ready" /\ mstep = "start" /\ paused = FALSE
  /\ migrating = FALSE /\ ged = FALSE /\ scanning = FALSE /\ faults = Faults

GuestRuns == phase = "running" \/ mstep \in {"start", "restart"}
Busy(s) == s.cmd # "none" \/ s.step # "none" \/ s.life \in {"realized", "ejecting"}

----------------------------------------------------------------------------
(* What goes on by itself once a slot has nothing under way.                   *)

\* An eject, and the way back of a failed plug: in this order, what has nothing to do
\* left out.
NextTeardown(s) ==
  IF s.enabled THEN "disable"
  ELSE IF s.powered THEN "power_off"
  ELSE IF V6 THEN IF s.gicc = "wired" THEN "shut" ELSE "halt"
  ELSE IF s.gicc = "wired" THEN "unwire"
  ELSE IF s.gicc = "bound" THEN "unbind"
  ELSE IF s.thread THEN "stop"
  ELSE IF s.space THEN "release"
  ELSE "park"

Taken(s) == [s EXCEPT !.life = "ejecting", !.requested = FALSE]

\* An eject request waits until the guest has taken the device check, and for the end of a
\* reset. In both definitions p is the phase, m the effect on the machine.
Asks(p, s) ==
  s.step = "none" /\ s.life # "ejecting" /\ s.cmd = "unplug" /\ ~s.requested /\ ~s.insert
  /\ p \notin {"resetting", "off"}

\* A plug waits until the guest is through with its eject, which v6 does not wait for, and while
\* vCPU 0 is started. What the guest ejects while the state is carried (c) waits for that.
AdvanceIn(p, m, c, s) ==
  IF s.step # "none" THEN s
  ELSE IF s.cmd = "plug"
  THEN [s EXCEPT !.step = IF (s.unconfirmed /\ ~V6) \/ s.enabled \/ m = "start" THEN "none"
                          ELSE IF V6 /\ s.space THEN "wake" ELSE "realize"]
  ELSE LET t == IF s.cmd = "revoke" /\ s.life # "ejecting" THEN Taken(s) ELSE s
       IN IF t.life = "ejecting"
          THEN IF t.stalled \/ c THEN t ELSE [t EXCEPT !.step = NextTeardown(t)]
          ELSE IF Asks(p, t)
          THEN [t EXCEPT !.step = "notify_remove", !.remove = TRUE, !.requested = TRUE]
          ELSE t
Advance(s) == AdvanceIn(phase, mstep, migrating, s)

\* Slot i becomes s, and goes on. Sending an event raises the GED.
Becomes(i, s) ==
  /\ slot' = [slot EXCEPT ![i] = Advance(s)]
  /\ ged' = (ged \/ Asks(phase, s))

Quietly(i, s) == slot' = [slot EXCEPT ![i] = s] /\ UNCHANGED ged
Rest == UNCHANGED <<phase, paused, mstep, migrating, scanning, faults>>

----------------------------------------------------------------------------
(* The user.                                                                   *)

Takes == phase \in {"running", "resetting"} /\ ~migrating

DeviceAdd(i) ==
  LET s == slot[i] IN
  /\ phase # "off" /\ ~migrating
  /\ s.life = "parked" /\ s.cmd = "none" /\ s.step = "none"
  /\ Becomes(i, [s EXCEPT !.cmd = "plug", !.named = TRUE])
  /\ Rest

PlugFinished(s) ==
  s.cmd # "plug" /\ (s.life = "ejecting" => s.stalled \/ s.cmd # "none")

\* Also while one is pending: the guest is asked anew, unless it is being asked just now.
DeviceDel(i) ==
  LET s == slot[i] IN
  /\ Takes /\ s.named /\ ~Cold(i) /\ PlugFinished(s)
  /\ s.life = "ejecting" => s.stalled
  /\ s.cmd # "revoke"
  /\ Becomes(i, [s EXCEPT !.cmd = "unplug", !.stalled = FALSE,
                          !.requested = @ /\ s.step = "notify_remove"])
  /\ Rest

\* The guest is not asked. v6 has no force.
DeviceDelByForce(i) ==
  LET s == slot[i] IN
  /\ ~V6 /\ Takes /\ s.named /\ ~Cold(i) /\ PlugFinished(s)
  /\ s.life = "ejecting" => s.stalled
  /\ s.cmd # "revoke"
  /\ Becomes(i, [s EXCEPT !.cmd = "revoke", !.stalled = FALSE])
  /\ Rest

Reset ==
  /\ phase \in {"running", "off"} \/ (phase = "resetting" /\ paused)
  /\ mstep = "none" /\ mstep' = "reset"
  /\ UNCHANGED <<slot, phase, paused, migrating, ged, scanning, faults>>

\* What is off has to be reset first.
Resume ==
  /\ phase \in {"running", "resetting"} /\ paused
  /\ mstep = "none" /\ mstep' = "resume"
  /\ UNCHANGED <<slot, phase, paused, migrating, ged, scanning, faults>>

Carry(step) ==
  /\ phase = "running" /\ mstep = "none" /\ \A i \in Slots : ~Busy(slot[i])
  /\ mstep' = step /\ migrating' = TRUE
  /\ UNCHANGED <<slot, phase, paused, ged, scanning, faults>>

Migrate == Carry("migrate")
Save == Saves /\ Carry("save")

----------------------------------------------------------------------------
(* The guest: any of these, at any time.                                       *)

ScanStarts ==
  /\ GuestRuns /\ ged' = FALSE /\ scanning' = TRUE
  /\ UNCHANGED <<slot, phase, paused, mstep, migrating, faults>>

\* Bits that are still set raise the GED again.
ScanEnds ==
  /\ scanning /\ scanning' = FALSE
  /\ ged' = (ged \/ \E i \in Slots : slot[i].insert \/ slot[i].remove)
  /\ UNCHANGED <<slot, phase, paused, mstep, migrating, faults>>

TakesInsert(i) ==
  /\ phase # "off" /\ slot[i].insert /\ Becomes(i, [slot[i] EXCEPT !.insert = FALSE]) /\ Rest

TakesRemove(i) ==
  /\ phase # "off" /\ slot[i].remove /\ Quietly(i, [slot[i] EXCEPT !.remove = FALSE]) /\ Rest

\* PSCI CPU_ON. The accelerator may have granted it just before it was told to disable.
CpuOn(i) ==
  LET s == slot[i] IN
  /\ GuestRuns /\ s.enabled /\ ~s.powered
  /\ \/ s.life = "enabled" /\ Quietly(i, [s EXCEPT !.life = "online", !.powered = TRUE])
     \/ s.life = "ejecting" /\ Quietly(i, [s EXCEPT !.powered = TRUE])
  /\ Rest

CpuOff(i) ==
  LET s == slot[i] IN
  /\ s.powered
  /\ Quietly(i, [s EXCEPT !.powered = FALSE,
                          !.life = IF @ = "online" THEN "enabled" ELSE @])
  /\ Rest

\* _EJ0: carried out if it was asked for and the vCPU is off, by the accelerator's word.
Eject(i) ==
  LET s == slot[i] IN
  /\ GuestRuns /\ ~Cold(i)
  /\ s.life \in {"enabled", "online"} /\ s.requested /\ ~s.powered
  /\ Becomes(i, [s EXCEPT !.life = "ejecting", !.requested = FALSE, !.unconfirmed = TRUE,
                          !.cmd = IF @ = "none" THEN "unplug" ELSE @])
  /\ Rest

\* A request that it has yet to take stays before it. v6 does not hear a refusal.
OstRefuses(i) ==
  LET s == slot[i] IN
  /\ ~V6 /\ GuestRuns /\ s.requested /\ s.cmd = "unplug"
  /\ Quietly(i, [s EXCEPT !.cmd = "none", !.requested = s.remove]) /\ Rest

\* The guest's word on the eject that it has begun.
OstConfirms(i) ==
  /\ GuestRuns /\ slot[i].unconfirmed
  /\ Becomes(i, [slot[i] EXCEPT !.unconfirmed = FALSE]) /\ Rest

\* The deadline: the guest's word is waited for no longer; or the command ends, and the guest
\* may still eject. v6 waits without end.
Silence(i) ==
  LET s == slot[i] IN
  /\ ~V6
  /\ \/ s.unconfirmed /\ Becomes(i, [s EXCEPT !.unconfirmed = FALSE])
     \/ /\ ~s.unconfirmed /\ s.cmd = "unplug" /\ s.life # "ejecting" /\ s.step = "none"
        /\ Quietly(i, [s EXCEPT !.cmd = "none"])
  /\ Rest

\* By the guest or by Reset. What is plugged stays; what is pending goes.
AfterReset(s) ==
  LET waits == s.cmd \in {"unplug", "revoke"} /\ s.requested
  IN [s EXCEPT !.cmd = IF waits THEN "none" ELSE @,
               !.life = IF @ = "online" THEN "enabled" ELSE @,
               !.powered = FALSE,
               !.insert = FALSE, !.remove = FALSE, !.requested = FALSE,
               !.unconfirmed = FALSE]
Lost(i) == Bug = "lost_at_reset" /\ ~Cold(i)
On(s) == [s EXCEPT !.life = "online", !.powered = TRUE]

\* What was plugged before the boot is there once vCPU 0 has entered the kernel.
AfterStart(s) == [s EXCEPT !.cmd = IF @ = "plug" /\ s.enabled /\ mstep = "start" THEN "none" ELSE @]

ResetSeen ==
  LET busy == mstep \in {"migrate", "save", "resume"}  \* then vCPU 0 starts once that has ended,
      starts == ~busy /\ ~paused              \* and not before the machine is resumed
      kept(i) == AfterReset(AfterStart(slot[i]))
      t(i) == [kept(i) EXCEPT !.enabled = @ /\ ~Lost(i)]
  IN
  /\ GuestRuns \/ phase = "resetting" \/ (phase = "off" /\ mstep = "reset")
  /\ slot' = [i \in Slots |-> IF i = 0 /\ starts THEN On(t(i)) ELSE t(i)]
  /\ phase' = "resetting" /\ ged' = FALSE /\ scanning' = FALSE
  /\ mstep' = IF busy THEN mstep ELSE IF starts THEN "restart" ELSE "none"
  /\ UNCHANGED <<paused, migrating, faults>>

\* What is plugged stays, and what the accelerator has under way goes on; what depends on the
\* guest ends.
AfterPowerOff(s) ==
  LET u == AfterReset(s) IN
  [u EXCEPT !.cmd = IF @ = "unplug" /\ s.life # "ejecting" THEN "none" ELSE @]

PowerOffSeen ==
  /\ GuestRuns
  /\ slot' = [i \in Slots |-> AfterPowerOff(AfterStart(slot[i]))]
  /\ phase' = "off" /\ paused' = TRUE /\ ged' = FALSE /\ scanning' = FALSE
  /\ mstep' = IF mstep \in {"start", "restart"} THEN "none" ELSE mstep
  /\ UNCHANGED <<migrating, faults>>

----------------------------------------------------------------------------
(* The accelerator.                                                            *)

\* What a slot is when its step is done, and what the plug begins next.
AfterStep(s) ==
  LET t == [s EXCEPT !.step = "none"] IN
  CASE s.step = "realize" -> [t EXCEPT !.life = "realized", !.thread = TRUE,
                                       !.space = TRUE, !.step = "bind"]
    [] s.step = "bind" -> [t EXCEPT !.gicc = "bound", !.step = "wire"]
    [] s.step = "wire" -> [t EXCEPT !.gicc = "wired", !.step = "enable"]
    [] s.step = "enable" -> [t EXCEPT !.life = "enabled", !.enabled = TRUE,
                                      !.step = "notify_insert", !.insert = TRUE]
    \* An earlier plug may have come to any of these.
    [] s.step = "wake" -> [t EXCEPT !.life = "realized",
                                    !.step = CASE s.gicc = "unbound" -> "bind"
                                               [] s.gicc = "bound" -> "wire"
                                               [] s.gicc = "shut" -> "open"]
    [] s.step = "open" -> [t EXCEPT !.gicc = "wired", !.step = "enable"]
    [] s.step = "notify_insert" -> [t EXCEPT !.cmd = "none"]
    [] s.step = "notify_remove" -> t
    [] s.step = "disable" -> [t EXCEPT !.enabled = FALSE, !.insert = FALSE,
                                       !.remove = FALSE, !.requested = FALSE]
    [] s.step = "power_off" -> [t EXCEPT !.powered = FALSE]
    [] s.step = "unwire" -> [t EXCEPT !.gicc = "bound"]
    [] s.step = "unbind" -> [t EXCEPT !.gicc = "unbound"]
    [] s.step = "stop" -> [t EXCEPT !.thread = FALSE]
    [] s.step = "release" -> [t EXCEPT !.space = FALSE]
    [] s.step = "shut" -> [t EXCEPT !.gicc = "shut"]
    [] s.step \in {"park", "halt"} -> [t EXCEPT !.life = "parked", !.named = FALSE,
                                                !.cmd = "none"]

Done(i) ==
  LET s == slot[i]
      t == AfterStep(s)
  IN /\ s.step # "none"
     /\ slot' = [slot EXCEPT ![i] = Advance(t)]
     /\ ged' = (ged \/ Asks(phase, t) \/ s.step = "enable")
     /\ Rest

\* A plug that fails is taken back; a teardown that fails waits to be asked again.
AfterFailure(s) ==
  LET t == [s EXCEPT !.step = "none",
                     !.insert = IF s.step = "notify_insert" THEN FALSE ELSE @,
                     !.remove = IF s.step = "notify_remove" THEN FALSE ELSE @,
                     !.requested = IF s.step = "notify_remove" THEN FALSE ELSE @,
                     !.stalled = IF s.step \in {"notify_insert", "notify_remove"} THEN @
                                 ELSE s.life = "ejecting"]
  IN CASE s.cmd = "plug" ->
            IF t.life = "parked" THEN [t EXCEPT !.cmd = "none", !.named = FALSE]
            ELSE [t EXCEPT !.cmd = "none", !.life = "ejecting"]
       [] s.step = "notify_remove" /\ (s.life = "ejecting" \/ s.cmd = "revoke") -> t
       [] s.cmd \in {"unplug", "revoke"} /\ ~(s.step = "notify_remove"
                                              /\ (s.life = "ejecting" \/ s.cmd = "revoke")) ->
            [t EXCEPT !.cmd = "none", !.requested = FALSE]
       [] OTHER -> t

Fails(i) ==
  LET s == slot[i] IN
  /\ s.step # "none" /\ faults > 0 /\ faults' = faults - 1
  /\ Becomes(i, AfterFailure(s))
  /\ UNCHANGED <<phase, paused, mstep, migrating, scanning>>

\* vCPU 0 starts once nothing else is under way for the machine.
ThenRestartOf(slots, still) ==
  IF phase = "resetting" /\ ~still
  THEN mstep' = "restart" /\ slot' = [slots EXCEPT ![0] = On(@)]
  ELSE mstep' = "none" /\ slot' = slots

ThenRestart(still) == ThenRestartOf(slot, still)

\* v6 carries what is enabled. Elsewhere any other vCPU is as if it had never been enabled.
LeftBehind(s) ==
  IF V6 /\ s.life = "parked"
  THEN [s EXCEPT !.thread = FALSE, !.space = FALSE, !.gicc = "unbound"] ELSE s

\* The state has been carried, or not: what the guest has ejected meanwhile goes on.
CarriedOf(slots, still) ==
  /\ migrating' = FALSE
  /\ ThenRestartOf([i \in Slots |-> AdvanceIn(phase, "none", FALSE, slots[i])], still)
Carried(still) == CarriedOf(slot, still)
Elsewhere(still) == CarriedOf([i \in Slots |-> LeftBehind(slot[i])], still)

MigrationDone ==
  /\ \/ mstep = "migrate" /\ Elsewhere(paused)
     \/ mstep = "save" /\ Carried(paused)
  /\ UNCHANGED <<phase, paused, ged, scanning, faults>>

\* Another machine, from what was saved: it stands still until it is resumed.
Restored ==
  /\ mstep = "save" /\ paused' = TRUE /\ Elsewhere(TRUE)
  /\ UNCHANGED <<phase, ged, scanning, faults>>

Resumed ==
  /\ mstep = "resume" /\ paused' = (phase = "off")  \* it may have gone off meanwhile
  /\ ThenRestart(FALSE)
  /\ UNCHANGED <<phase, migrating, ged, scanning, faults>>

\* What has waited for the end of a reset goes on.
Started ==
  /\ mstep \in {"start", "restart"} /\ mstep' = "none" /\ phase' = "running"
  /\ slot' = [i \in Slots |-> AdvanceIn("running", "none", migrating, AfterStart(slot[i]))]
  /\ ged' = (ged \/ \E i \in Slots : Asks("running", slot[i]))
  /\ UNCHANGED <<paused, migrating, scanning, faults>>

\* These leave a machine to go on with, if they fail.
MigrationFails ==
  /\ mstep \in {"migrate", "save"} /\ faults > 0 /\ faults' = faults - 1
  /\ Carried(paused)
  /\ UNCHANGED <<phase, paused, ged, scanning>>

ResumeOrResetFails ==
  /\ mstep = "resume" \/ (mstep = "reset" /\ phase = "off")
  /\ faults > 0 /\ faults' = faults - 1 /\ mstep' = "none"
  /\ UNCHANGED <<slot, phase, paused, migrating, ged, scanning>>

----------------------------------------------------------------------------

OfSlot(i) ==
  \/ DeviceAdd(i) \/ DeviceDel(i) \/ DeviceDelByForce(i)
  \/ TakesInsert(i) \/ TakesRemove(i) \/ CpuOn(i) \/ CpuOff(i)
  \/ Eject(i) \/ OstRefuses(i) \/ OstConfirms(i) \/ Silence(i)
  \/ Done(i) \/ Fails(i)

Next ==
  \/ \E i \in Slots : OfSlot(i)
  \/ Reset \/ Resume \/ Migrate \/ Save \/ ScanStarts \/ ScanEnds \/ ResetSeen \/ PowerOffSeen
  \/ Started \/ MigrationDone \/ Restored \/ Resumed \/ MigrationFails \/ ResumeOrResetFails

Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* The invariants, by the names that hpcore gives them.                        *)

ParkedIsInert == \A i \in Slots : LET s == slot[i] IN
  s.life = "parked" => /\ ~s.thread /\ ~s.space /\ ~s.powered /\ ~s.enabled
                       /\ s.gicc = "unbound"
EnabledIsWired == \A i \in Slots : LET s == slot[i] IN
  s.enabled => s.thread /\ s.space /\ s.gicc = "wired"
TablesSayWhatIs == \A i \in Slots : LET s == slot[i] IN
  s.enabled = (s.life \in {"enabled", "online"}) \/ s.life = "ejecting"
NothingWithoutBase == \A i \in Slots : LET s == slot[i] IN
  (s.thread => s.space) /\ (s.gicc # "unbound" => s.thread)
RealizedAsNew == \A i \in Slots : LET s == slot[i] IN
  s.step = "realize" => /\ s.life = "parked" /\ s.gicc = "unbound"
                        /\ ~s.thread /\ ~s.space /\ ~s.stalled
NotifiedOnlyEnabled == \A i \in Slots : LET s == slot[i] IN
  s.insert \/ s.remove \/ s.requested => s.enabled
OnlineIsEnabled == \A i \in Slots : LET s == slot[i] IN
  /\ s.life = "online" => s.enabled /\ s.powered
  /\ s.life = "enabled" => s.enabled /\ ~s.powered
  /\ s.powered => s.life \in {"online", "ejecting"}
EjectConfirmedFirst == \A i \in Slots : LET s == slot[i] IN
  s.unconfirmed /\ s.enabled => s.life = "ejecting"
ColdBootedStays == \A i \in Slots : LET s == slot[i] IN
  Cold(i) => s.life # "ejecting" /\ ~s.requested /\ ~s.remove
ResetKeepsPlugged ==
  phase = "resetting" /\ mstep # "restart" => \A i \in Slots : ~slot[i].powered
OffKeepsPlugged ==
  phase = "off" => \A i \in Slots : ~slot[i].powered /\ ~slot[i].requested
StartsInOrder == mstep = "restart" => ~paused
Held(s) == migrating /\ s.cmd = "unplug" /\ s.life = "ejecting"
MigrationCarriesAll == migrating => \A i \in Slots : LET s == slot[i] IN
  s.step = "none" /\ (Held(s) \/ ~Busy(s))
NoCommandLost == \A i \in Slots : LET s == slot[i] IN
  /\ s.life = "ejecting" => s.step # "none" \/ s.stalled \/ Held(s)
  /\ s.cmd = "unplug" =>
       s.step # "none" \/ s.insert \/ s.requested \/ phase = "resetting" \/ Held(s)
  /\ s.cmd = "plug" => s.step # "none" \/ s.unconfirmed \/ phase \in {"resetting", "off"}
                         \/ mstep = "start"
  /\ s.cmd = "revoke" => s.step # "none"
NoNotificationLost ==
  (\E i \in Slots : slot[i].insert \/ slot[i].remove) => ged \/ scanning
RequestWithdrawnWhole == \A i \in Slots : LET s == slot[i] IN
  s.remove => s.requested \/ s.life = "ejecting"
RemovalNotShadowed == \A i \in Slots : ~(slot[i].insert /\ slot[i].remove)

\* Orders, as properties of what an effect finds when it is begun.
Begins(i, e) == slot[i].step = e
EjectInOrder == \A i \in Slots : LET s == slot[i] IN
  /\ s.step \in {"unwire", "unbind", "stop", "release", "park", "shut", "halt"} =>
       ~s.enabled /\ ~s.powered
  /\ s.step = "power_off" => ~s.enabled
  /\ s.step = "unbind" => s.gicc = "bound"
  /\ s.step = "stop" => s.gicc = "unbound"
  /\ s.step = "release" => ~s.thread
  /\ s.step = "park" => ~s.space
BuiltInOrder == \A i \in Slots : LET s == slot[i] IN
  /\ s.step = "bind" => s.thread /\ s.gicc = "unbound"
  /\ s.step = "wire" => s.gicc = "bound"
  /\ s.step = "enable" => s.gicc = "wired"

\* What v6 promises instead.
DisabledIsShut == \A i \in Slots : LET s == slot[i] IN
  s.life = "parked" => ~s.powered /\ ~s.enabled /\ s.gicc # "wired"
DisabledInOrder == \A i \in Slots : LET s == slot[i] IN
  /\ s.step = "shut" => s.gicc = "wired"
  /\ s.step = "halt" => s.gicc # "wired"
  /\ s.step \notin {"unwire", "unbind", "stop", "release", "park"}
WokenInOrder == \A i \in Slots : LET s == slot[i] IN
  /\ s.step = "wake" => s.space /\ s.life = "parked"
  /\ s.step = "open" => s.gicc = "shut" /\ s.life = "realized"
SveFinalizedOnce == \A i \in Slots :
  slot[i].step = "realize" => Cold(i) \/ Bug # "sve_finalized_twice"

\* What v6 gives up; asked of it all the same, each is seen broken.
ObjectsWhilePlugged == \A i \in Slots : slot[i].life = "parked" => ~slot[i].space
GivenUp == ParkedIsInert /\ EjectConfirmedFirst /\ ObjectsWhilePlugged

\* Of an action, and so no state's: what was enabled before a reset is so after it.
ResetKeepsEnabled ==
  [][ResetSeen => \A i \in Slots : slot'[i].enabled = slot[i].enabled]_vars

Invariants ==
  /\ TypeOK /\ EnabledIsWired /\ NotifiedOnlyEnabled /\ OnlineIsEnabled
  /\ ColdBootedStays /\ ResetKeepsPlugged /\ OffKeepsPlugged
  /\ StartsInOrder /\ MigrationCarriesAll /\ NoCommandLost
  /\ NoNotificationLost /\ RequestWithdrawnWhole /\ RemovalNotShadowed /\ EjectInOrder /\ BuiltInOrder
  /\ TablesSayWhatIs /\ RealizedAsNew /\ NothingWithoutBase
  /\ IF V6 THEN DisabledIsShut /\ DisabledInOrder /\ WokenInOrder /\ SveFinalizedOnce
     ELSE GivenUp /\ \A i \in Slots : slot[i].step \notin StepsOfV6
=============================================================================
