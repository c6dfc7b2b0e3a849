; The balance scanner: native and token balances of many wallets in one eth_call.
;
; One program serves two rungs. By state override it is called: the payload is its calldata and
; it RETURNs. Deployless it runs as creation code with the payload behind it, has no calldata,
; and REVERTs with the result, because a returned result would be checked as a contract's code
; (EIP-170, 24,576 bytes). Only opcodes up to Istanbul are used (no PUSH0), for older chains.
;
; payload   gas cap per token read (4) | number of tokens n (2) | n tokens (20) | m wallets (20)
; result    CHAINID | NUMBER | TIMESTAMP | BLOCKHASH(NUMBER-1)             4 words
;           per wallet: native, token 1 .. token n                         m * (n + 1) words
;           per wallet: one status byte per token, 0 = the word is a value m * n bytes
; status    1 reverted  2 burnt all gas  3 skipped, for it burnt all gas before in this call
;           4 no contract  32 + k: returned only k bytes
;
; memory    0x00 a call's output   0x20 calldata of balanceOf(address), 36 bytes
;           0x60 payload           E (its end) result
; stack     E T1 cap s o w t (top): end of payload, end of tokens, gas cap, next status byte,
;           next output word, this wallet, this token. Comments show the stack, top at right.

    CALLDATASIZE
    DUP1 ISZERO PUSH1 @created JUMPI
    DUP1 PUSH1 0x00 PUSH1 0x60 CALLDATACOPY     ; size
    PUSH1 @copied JUMP

created:                                        ; 0
    POP
    PUSH2 @end CODESIZE SUB
    DUP1 PUSH2 @end PUSH1 0x60 CODECOPY         ; size

copied:                                         ; size
    PUSH1 0x60 ADD                              ; E
    PUSH1 0x60 MLOAD                            ; E first
    DUP1 PUSH1 208 SHR PUSH2 0xffff AND         ; E first n
    PUSH1 20 MUL PUSH1 0x66 ADD                 ; E first T1
    SWAP1 PUSH1 224 SHR                         ; E T1 cap

    CHAINID DUP4 MSTORE
    NUMBER DUP4 PUSH1 0x20 ADD MSTORE
    TIMESTAMP DUP4 PUSH1 0x40 ADD MSTORE
    PUSH1 1 NUMBER SUB BLOCKHASH DUP4 PUSH1 0x60 ADD MSTORE

; status bytes begin at E + 0x80 + 32 * m * (n + 1)
    DUP2 DUP4 SUB PUSH1 20 SWAP1 DIV            ; E T1 cap m
    PUSH1 20 PUSH1 0x66 DUP5 SUB DIV            ; E T1 cap m n
    PUSH1 1 ADD MUL PUSH1 5 SHL
    DUP4 ADD PUSH1 0x80 ADD                     ; E T1 cap s
    DUP4 PUSH1 0x80 ADD                         ; E T1 cap s o
    DUP4                                        ; E T1 cap s o w

    PUSH4 0x70a08231 PUSH1 224 SHL PUSH1 0x20 MSTORE

wallet:                                         ; E T1 cap s o w
    DUP6 DUP2 LT ISZERO PUSH2 @done JUMPI
    DUP1 MLOAD PUSH1 96 SHR                     ; .. w address
    DUP1 PUSH1 0x24 MSTORE
    BALANCE DUP3 MSTORE
    SWAP1 PUSH1 0x20 ADD SWAP1                  ; o + 32
    PUSH1 0x66                                  ; E T1 cap s o w t

token:                                          ; E T1 cap s o w t
    DUP6 DUP2 LT ISZERO PUSH2 @next JUMPI
; A call gets at most 63/64 of the gas left: with less than the cap and that margin a good token
; would seem to burn, so the whole scan gives up and is asked again for fewer wallets.
    DUP5 DUP1 PUSH1 5 SHR ADD PUSH2 20000 ADD GAS LT PUSH2 @starved JUMPI
    DUP1 MLOAD PUSH1 96 SHR                     ; .. t token
    DUP1 ISZERO PUSH2 @skipped JUMPI
    GAS                                         ; .. t token before
    PUSH1 0x20 PUSH1 0x00 PUSH1 0x24 PUSH1 0x20 DUP6 DUP12
    STATICCALL                                  ; .. t token before ok
    SWAP1 GAS SWAP1 SUB SWAP1                   ; .. t token used ok
    ISZERO PUSH2 @failed JUMPI
    POP                                         ; .. t token
    PUSH1 31 RETURNDATASIZE GT ISZERO PUSH2 @short JUMPI
    POP
    PUSH1 0x00 MLOAD DUP4 MSTORE

advance:                                        ; E T1 cap s o w t
    PUSH1 20 ADD                                ; t + 20
    SWAP2 PUSH1 0x20 ADD SWAP2                  ; o + 32
    SWAP3 PUSH1 1 ADD SWAP3                     ; s + 1
    PUSH2 @token JUMP

short:                                          ; .. t token
    EXTCODESIZE ISZERO PUSH2 @codeless JUMPI
    RETURNDATASIZE PUSH1 32 ADD PUSH2 @mark JUMP

codeless:                                       ; .. t
    PUSH1 4 PUSH2 @mark JUMP

failed:                                         ; .. t token used
    SWAP1 POP
    DUP6 SWAP1 LT PUSH2 @reverted JUMPI         ; used < cap
; Burning costs at most one cap per call of the scanner: the token's address in the payload is
; cleared, which skips it for the wallets that follow.
    DUP1 MLOAD PUSH12 0xffffffffffffffffffffffff AND DUP2 MSTORE
    PUSH1 2 PUSH2 @mark JUMP

reverted:                                       ; .. t
    PUSH1 1 PUSH2 @mark JUMP

skipped:                                        ; .. t 0
    POP
    PUSH1 3

mark:                                           ; E T1 cap s o w t status
    DUP5 MSTORE8
    PUSH2 @advance JUMP

next:                                           ; E T1 cap s o w t
    POP PUSH1 20 ADD
    PUSH2 @wallet JUMP

done:                                           ; E T1 cap s o w
    POP POP
    DUP4 SWAP1 SUB                              ; E T1 cap size
    DUP4                                        ; E T1 cap size E
    CALLDATASIZE PUSH2 @answer JUMPI
    REVERT

answer:
    RETURN

starved:
    PUSH1 0 PUSH1 0 REVERT

end:
