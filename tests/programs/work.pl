# Hashes, strings, lists, regular expressions, closures, eval and fork: perl allocates for each of them.
use strict;
use warnings;

my $seed = 42;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return int($seed / 65536) % $_[0] }
sub sum { my $h = 7; $h = ($h * 31 + ord) % 4294967291 for split //, $_[0]; return $h }

my %count;
for my $i (1 .. 60_000) { $count{"w" . draw(5000)} .= chr(97 + $i % 26) }
print "hash ", scalar(keys %count), " ", sum(join ",", map { "$_=$count{$_}" } sort keys %count), "\n";
delete $count{$_} for grep { length $count{$_} > 3 } keys %count;
print "after delete ", scalar(keys %count), "\n";

my @tree = map { { id => $_, list => [map { draw(1000) } 1 .. draw(20)] } } 1 .. 3000;
print "tree ", sum(join ";", map { join ",", sort { $a <=> $b } @{ $_->{list} } } sort { @{ $a->{list} } <=> @{ $b->{list} } || $a->{id} <=> $b->{id} } @tree), "\n";

my $text = join " ", map { "word" . draw(300) } 1 .. 20_000;
my $hits = 0;
$hits++ while $text =~ /\b(word1\d*)\s+(word2\d*)\b/g;
(my $changed = $text) =~ s/word(\d+)/sprintf("<%04d>", $1)/ge;
print "text $hits ", sum($changed), " ", length $changed, "\n";

my $grown = "";
$grown .= "x" x draw(300) for 1 .. 5000;
substr($grown, 1000, length($grown) - 2000) = "";
print "grown ", length $grown, "\n";

my @subs = map { my $n = $_; sub { $n += shift; [($n) x ($n % 50)] } } 1 .. 2000;
my $total = 0;
for my $round (1 .. 5) { $total += scalar @{ $_->($round) } for @subs }
print "closures $total\n";

my $evals = 0;
for my $i (1 .. 300) { $evals += eval "my \@a = (1 .. $i); my \%h = map { \$_ => [\$_] } \@a; scalar keys \%h" }
print "eval $evals\n";

for my $n (1 .. 10) {
    my $pid = open(my $child, "-|");
    die "fork: $!" unless defined $pid;
    if (!$pid) { my @mine = map { "c$_" x $n } 1 .. 2000; print sum(join "", @mine), "\n"; exit 0 }
    my $said = <$child>;
    close $child or die "child $n: $?";
    print "child $n $said";
}
