import {
  alternatives,
  ascii,
  authority,
  constraints,
  dns,
  ip,
  nameOf,
  oid,
  seq,
  server,
  tlv,
  type Extension,
} from './test-authority.ts'
import { type Case, HOST, chainCase, leafCase, root } from './test-cases.ts'

const mail = tlv(0x81, ascii('a@example.com'))
const emailName = seq(tlv(0x31, seq(oid('1.2.840.113549.1.9.1'), tlv(0x16, ascii('a@example.com')))))
const directory = (name: Uint8Array) => tlv(0xa4, name)
const V6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

/** A server with these alternative names, asked for as `host`. */
const named = (name: string, expected: Case['expected'], names: Uint8Array[], host = HOST, cn = ['server']): Case =>
  leafCase(name, expected, { cn, extensions: [alternatives(names)] }, { host })

/** A server with these alternative names below an authority with these constraints, as authority and as root. */
function constrained(
  name: string,
  allowed: boolean,
  extension: Extension,
  names: Uint8Array[],
  host = HOST,
  subject = nameOf('server'),
): Case[] {
  const below = authority({ cn: ['constrained'], by: root, extensions: [extension] })
  const top = authority({ cn: ['constrained root'], extensions: [extension] })
  const leaf = (by: typeof top) => server({ by, name: subject, extensions: [alternatives(names)] })
  return [
    chainCase(`${name}, by an authority`, allowed ? 3 : 'constraints', leaf(below), { between: [below], host }),
    chainCase(`${name}, by a root`, allowed ? 2 : 'constraints', leaf(top), { anchors: [top], host }),
  ]
}

/** Whose certificate it is, and which names an authority may vouch for. */
export function nameCases(): Case[] {
  return [
    named('the name of the host', 2, [dns('x.example.com'), dns(HOST)]),
    named('the name in capitals', 2, [dns('DB.Example.com')]),
    named('a host with a dot at its end', 2, [dns(HOST)], 'db.example.com.'),
    named('another name', 'name', [dns('x.example.com')]),
    named('no name', 'name', [mail]),
    named('a name below', 'name', [dns('example.com')]),
    named('a wildcard', 2, [dns('*.example.com')]),
    named('a wildcard for two labels', 'name', [dns('*.example.com')], 'a.db.example.com'),
    named('a wildcard for none', 'name', [dns('*.example.com')], 'example.com'),
    named('a part of a label as wildcard', 'name', [dns('d*.example.com')]),
    named('the last part of a label as wildcard', 'name', [dns('*b.example.com')]),
    named('a wildcard in the middle', 'name', [dns('db.*.com')]),
    named('a wildcard below com', 'name', [dns('*.com')], 'example.com'),
    named('a wildcard below co.uk', 'name', [dns('*.co.uk')], 'example.co.uk'),
    named('a wildcard below a name of strangers', 'name', [dns('*.herokuapp.com')], 'db.herokuapp.com'),
    named('a star', 'name', [dns('*')], 'localhost'),
    named('a host of one label', 2, [dns('localhost')], 'localhost'),
    named('a name with an underscore', 'name', [dns('my_db.example.com')], 'my_db.example.com'),
    named('a zero byte in a name', 'name', [tlv(0x82, ascii('db.example.com\0.evil.com'))]),
    named('a name beyond ASCII', 'unreadable', [tlv(0x82, 0xc3, 0xa9), dns(HOST)]),
    named('a host beyond ASCII', 'name', [dns(HOST)], 'dé.example.com'),
    named('an address', 2, [ip(192, 0, 2, 7)], '192.0.2.7'),
    named('another address', 'name', [ip(192, 0, 2, 8)], '192.0.2.7'),
    named('an address as a name', 'name', [dns('192.0.2.7')], '192.0.2.7'),
    named('an address of IPv6', 2, [ip(...V6)], '2001:DB8::1'),
    named('an address of IPv6 in brackets, in full', 2, [ip(...V6)], '[2001:0db8:0:0:0:0:0:1]'),
    named(
      'an address of IPv6 with one of IPv4 at its end',
      2,
      [ip(...V6.slice(0, 12), 192, 0, 2, 1)],
      '2001:db8::192.0.2.1',
    ),
    named('an address of IPv4 as one of IPv6', 'name', [ip(192, 0, 2, 7)], '::ffff:192.0.2.7'),
    named('an address of 5 bytes', 'unreadable', [ip(192, 0, 2, 7, 0), dns(HOST)]),
    named('an address that is none', 'name', [ip(192, 0, 2, 7)], '192.0.2.07'),
    leafCase('a CN alone', 'name', { extensions: [alternatives([mail])] }),
    leafCase('a CN beside an address', 'name', { extensions: [alternatives([ip(192, 0, 2, 7)])] }),
    leafCase(
      'any name, when only the authority matters',
      2,
      { cn: ['x'], extensions: [alternatives([mail])] },
      { mode: 'ca' },
    ),

    named('a CN of another host', 'form', [dns(HOST)], HOST, ['x.example.com']),
    named('a CN of the same host', 2, [dns(HOST)], HOST, [HOST]),
    named('a CN that is the domain', 2, [dns(HOST)], HOST, ['example.com']),
    named('a CN that is no host', 2, [dns(HOST)], HOST, ['project:instance']),
    named('a second CN, of another host', 'form', [dns(HOST)], HOST, [HOST, 'x.example.com']),
    named('a CN of another address', 'form', [dns(HOST)], HOST, ['192.0.2.7']),
    leafCase('a CN of another host, when only the authority matters', 2, { cn: ['x.example.com'] }, { mode: 'ca' }),

    ...constrained('a permitted host', true, constraints([dns('example.com')], []), [dns(HOST)]),
    ...constrained('the permitted host itself', true, constraints([dns('DB.example.com')], []), [dns(HOST)]),
    ...constrained('a host that is not permitted', false, constraints([dns('example.org')], []), [dns(HOST)]),
    ...constrained('the same, not critical', false, constraints([dns('example.org')], [], false), [dns(HOST)]),
    ...constrained('the end of a permitted host', false, constraints([dns('xample.com')], []), [dns(HOST)]),
    ...constrained('one host that is not permitted beside one that is', false, constraints([dns('example.com')], []), [
      dns(HOST),
      dns('a.org'),
    ]),
    ...constrained('an excluded host', false, constraints([], [dns('example.com')]), [dns(HOST)]),
    ...constrained('a host, and all are excluded', false, constraints([], [dns('')]), [dns(HOST)]),
    ...constrained('another host is excluded', true, constraints([], [dns('example.org')]), [dns(HOST)]),
    ...constrained('a wildcard that is permitted', true, constraints([dns('example.com')], []), [dns('*.example.com')]),
    ...constrained('a wildcard wider than what is permitted', false, constraints([dns(HOST)], []), [
      dns('*.example.com'),
      dns(HOST),
    ]),
    ...constrained('a wildcard that takes in an excluded host', false, constraints([], [dns('x.example.com')]), [
      dns('*.example.com'),
      dns(HOST),
    ]),
    ...constrained('an excluded domain with a wildcard', false, constraints([], [dns('example.com')]), [
      dns('*.example.com'),
      dns(HOST),
    ]),
    ...constrained('a name that is no host', false, constraints([dns('example.com')], []), [
      dns('.example.com'),
      dns(HOST),
    ]),
    ...constrained(
      'a permitted address',
      true,
      constraints([ip(192, 0, 2, 0, 255, 255, 255, 0)], []),
      [ip(192, 0, 2, 7)],
      '192.0.2.7',
    ),
    ...constrained(
      'an address that is not permitted',
      false,
      constraints([ip(192, 0, 2, 0, 255, 255, 255, 248)], []),
      [ip(192, 0, 2, 8)],
      '192.0.2.8',
    ),
    ...constrained(
      'an excluded address',
      false,
      constraints([], [ip(192, 0, 0, 0, 255, 255, 0, 0)]),
      [ip(192, 0, 2, 8)],
      '192.0.2.8',
    ),
    ...constrained(
      'an address of IPv6, and IPv4 is permitted',
      false,
      constraints([ip(0, 0, 0, 0, 0, 0, 0, 0)], []),
      [ip(...V6)],
      '2001:db8::1',
    ),
    ...constrained('a permitted subject', true, constraints([directory(nameOf('server'))], []), [dns(HOST)]),
    ...constrained('a subject that is not permitted', false, constraints([directory(nameOf('serve'))], []), [
      dns(HOST),
    ]),
    ...constrained('an excluded subject', false, constraints([], [directory(nameOf('server'))]), [dns(HOST)]),
    ...constrained('an excluded subject in other letters', false, constraints([], [directory(nameOf('SERVER '))]), [
      dns(HOST),
    ]),
    ...constrained('an excluded name in a permitted subject', false, constraints([], [directory(nameOf('x'))]), [
      dns(HOST),
      directory(nameOf('x')),
    ]),
    ...constrained('e-mail, and none is there', true, constraints([mail], []), [dns(HOST)]),
    ...constrained('e-mail, which is not compared', false, constraints([mail], []), [dns(HOST), mail]),
    ...constrained(
      'e-mail, and an address is in the subject',
      false,
      constraints([mail], []),
      [dns(HOST)],
      HOST,
      emailName,
    ),
    unreadable('constraints of nothing', constraints([], [])),
    unreadable('a constraint with a star', constraints([dns('*.example.com')], [])),
    unreadable('a constraint with a dot at its front', constraints([dns('.example.com')], [])),
    unreadable('a network without a mask', constraints([ip(192, 0, 2, 0)], [])),
    unreadable('a mask with a hole', constraints([ip(192, 0, 2, 0, 255, 0, 255, 0)], [])),
  ]
}

function unreadable(name: string, extension: Extension): Case {
  const top = authority({ cn: ['constrained root'], extensions: [extension] })
  return chainCase(name, 'unreadable', server({ by: top }), { anchors: [top] })
}
